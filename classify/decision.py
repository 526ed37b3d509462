"""From probabilities to labels: where classes are rarer, where mistakes cost, where it is unsure.

N images, C classes. `Decision` holds what was asked for, checked before any image is read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError, UnknownNameError
from .costs import Costs, costs_of, named_numbers
from .runs.neighbours import read_neighbours
from .runs.predictions import Predictions
from .runs.prior import run_prior
from .runs.run import Run
from .scoring.calibrate import UNKNOWN, Rejection, choose_threshold
from .scoring.intervals import variance_of_folds
from .scoring.prevalence import (
    LEAST,
    PriorEstimate,
    estimate_prior,
    label_weights,
    move_prior,
    share_the_rest,
)
from .strangers import Neighbours

AUTO = "auto"


def stated_prior(
    prior: str | Mapping[str, float], class_names: tuple[str, ...], learned: np.ndarray
) -> np.ndarray:
    """Return the shares (C,) that a user states; classes not named share what is left.

    They do so in the proportions of the shares learned with.

    Parameters
    ----------
    prior : str or mapping of str to float
        ``"cats=0.05,dogs=0.95"``, or the same as a mapping.
    class_names : tuple of C str
    learned : ndarray of shape (C,)

    Raises
    ------
    DataError
        If a share is not between 0 and 1, they do not sum to 1, nothing is left for the classes not
        named, or nothing was learned of a class.
    UnknownNameError
        If there is no such class.

    Examples
    --------
    >>> stated_prior("a=0.1", ("a", "b", "c"), np.array([0.2, 0.6, 0.2])).round(3).tolist()
    [0.1, 0.675, 0.225]
    """
    example = f"{class_names[0]}=0.05"
    given = named_numbers(prior, example) if isinstance(prior, str) else dict(prior)
    shares = np.full(len(class_names), np.nan)
    for name, share in given.items():
        if name not in class_names:
            raise UnknownNameError.nearest("class", str(name), class_names)
        if not _is_number(share) or not 0 < share < 1:
            raise DataError(
                f"a share of {share} for {name!r} is not between 0 and 1.",
                f"5% is {name}=0.05. For what hardly occurs use a small share, such as 0.0001.",
            )
        shares[class_names.index(name)] = share
    rest = np.isnan(shares)
    left = 1 - float(shares[~rest].sum())
    if rest.any():
        if left <= 1e-9:
            names = ", ".join(np.array(class_names, object)[rest][:5])
            raise DataError(
                f"the shares sum to {1 - left:g}: nothing is left for {names}.",
                "Shares of all classes sum to 1; those not named share what is left.",
            )
        shares = share_the_rest(shares, learned)
    elif abs(left) > 1e-6:
        raise DataError(
            f"the shares sum to {1 - left:g}, not to 1.",
            "Leave one class out, and it gets what is left.",
        )
    if never := [name for name, share in zip(class_names, learned, strict=True) if share == 0]:
        raise DataError(f"the run learned from no image of {never[0]!r}.", "Fit it with some.")
    return shares / shares.sum()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and math.isfinite(value)


@dataclass(frozen=True, eq=False)
class Decision:
    """How probabilities become labels.

    Attributes
    ----------
    class_names : tuple of C str
    learned : ndarray of shape (C,)
        How frequent the probabilities suppose the classes to be; empty where that is not needed.
    prior : ndarray of shape (C,), or None
        How frequent they are; None to leave the probabilities as they are.
    rejection : Rejection or None
    costs : Costs or None
    neighbours : Neighbours or None
        What tells strangers; None if the run has nothing that does.
    scored : Predictions or None
        Of the run: what a prevalence is estimated with, where that was asked for.
    estimate : PriorEstimate or None
        What came of it.
    too_little : str
        Why it was not estimated, "" if it was.
    """

    class_names: tuple[str, ...]
    learned: np.ndarray
    prior: np.ndarray | None = None
    rejection: Rejection | None = None
    costs: Costs | None = None
    neighbours: Neighbours | None = None
    scored: Predictions | None = None
    estimate: PriorEstimate | None = None
    too_little: str = ""

    def settled(self, probabilities: np.ndarray) -> Decision:
        """Return the decision with the prevalence of these images (N, C), if it is to be found.

        It is used only if it moved beyond chance.
        """
        if self.scored is None:
            return self
        if len(probabilities) < LEAST:
            few = f"that takes {LEAST} different images, and there are {len(probabilities)}"
            return replace(self, too_little=few)
        y = self.scored.label
        unseen = np.flatnonzero(
            (self.learned > 0) & (np.bincount(y, minlength=len(self.learned)) == 0)
        )
        if len(unseen):
            name = self.class_names[unseen[0]]
            return replace(self, too_little=f"no scored image of {name!r} tells what it looks like")
        spread = variance_of_folds(int(self.scored.fold.max()) + 1)
        size = len(np.unique(self.scored.group)) / spread
        found = estimate_prior(probabilities, self.learned, self.scored.probabilities, y, size)
        return replace(self, estimate=found, prior=found.share if found.moved else None)

    def moved(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the probabilities (N, C) for the prevalence that was stated or found."""
        if self.prior is None:
            return probabilities
        return move_prior(probabilities, self.learned, self.prior)

    def choose(self, moved: np.ndarray, stranger: np.ndarray | None = None) -> np.ndarray:
        """Return the classes (N,) that images are taken for; C stands for ``"unknown"``.

        With a rejection also for a stranger, where `stranger` (N,) has the p-values of that.
        """
        if self.costs is not None:
            return self.costs.choose(moved)
        best = moved.argmax(axis=1)
        if self.rejection is None:
            return best
        rejected = moved.max(axis=1) < self.rejection.threshold
        if stranger is not None and self.rejection.strangers is not None:
            rejected |= stranger <= self.rejection.strangers
        return np.where(rejected, moved.shape[1], best)


def make_decision(
    run: Run,
    *,
    reject: float | Rejection | None = None,
    prior: str | Mapping[str, float] | None = None,
    cost: str | os.PathLike[str] | Mapping[str, float] | ArrayLike | None = None,
    positive: str | None = None,
) -> Decision:
    """Check what is asked of a run's probabilities; see `tlx.predict_images` for the parameters.

    Raises
    ------
    DataError
        If a share, a cost or an error makes no sense, or two of them do not go together.
    FitError
        If the run cannot promise so little error.
    UnknownNameError
        If there is no class of a name that is given.
    """
    if cost is not None and reject is not None:
        raise DataError(
            "costs choose the cheapest decision, a rejection leaves the least sure ones open.",
            f"Use either, or give the matrix of costs a column {UNKNOWN!r}: what it costs to look.",
        )
    if positive is not None and cost is None:
        raise DataError("a positive class is nothing without costs.", "Add --cost fp=1,fn=20, say.")
    if prior is not None and isinstance(reject, Rejection):
        raise DataError(
            "that rejection was chosen for another prevalence.", "Give the error: reject=0.01."
        )
    if reject is not None and prior == AUTO:
        raise DataError(
            "an error can be promised for a stated prevalence, not for an estimated one.",
            f"State it: --prior {run.class_names[0]}=0.05, say.",
        )
    learned = np.empty(0) if prior is None else run_prior(run)  # an old run is asked for it
    shares = None
    if prior is not None and prior != AUTO:
        shares = stated_prior(prior, run.class_names, learned)
    if reject is not None and not isinstance(reject, Rejection):
        reject = rejection(run, reject, shares)
    return Decision(
        run.class_names,
        learned,
        prior=shares,
        rejection=reject,
        costs=None if cost is None else costs_of(cost, run.class_names, positive),
        neighbours=read_neighbours(run),
        scored=run.predictions() if prior == AUTO else None,
    )


def rejection(run: Run, error: float, prior: np.ndarray | None = None) -> Rejection:
    """Choose the confidence of a run above which at most `error` of the predictions are wrong.

    It is chosen on the images that the run was scored on, by heads that had not seen them: see
    `tlx.classify.scoring.calibrate.choose_threshold`. Those of them that would be taken for
    strangers are left out, as they will be where the run predicts.

    Parameters
    ----------
    run : Run
    error : float
    prior : ndarray of shape (C,), optional
        How frequent the classes are where it is used; by default as among the scored images. Each
        of these then counts as much as makes its class so frequent.

    Raises
    ------
    DataError
        If `error` is not between 0 and 1, a class is called ``"unknown"``, or one has no scored
        image to say how often it is taken for others.
    FitError
        If no confidence can promise so little error.
    """
    if UNKNOWN in run.class_names:
        raise DataError(
            f"run {run.id} has a class {UNKNOWN!r}, which rejected images would be taken for.",
            "Use the confidence column instead of --reject.",
        )
    scored = run.predictions()
    y, probabilities, weights = scored.label, scored.probabilities, None
    if prior is not None:
        unseen = np.flatnonzero(np.bincount(y, minlength=len(prior)) == 0)
        if len(unseen):
            raise DataError(
                f"no image of {run.class_names[unseen[0]]!r} was scored: how often it is taken for "
                "others is not known.",
                "Fit the run with such images in its validation split.",
            )
        probabilities = move_prior(probabilities, run_prior(run), prior)
        weights = label_weights(y, prior)
    neighbours = read_neighbours(run)
    if neighbours is None:
        return choose_threshold(y, probabilities, scored.group, error, weights=weights)
    known = ~neighbours.are_strangers
    weights = np.ones(len(y)) if weights is None else weights
    kept = y[known], probabilities[known], scored.group[known]
    found = choose_threshold(*kept, error, weights=weights[known])
    coverage = found.coverage * float(weights[known].sum() / weights.sum())
    return replace(found, coverage=coverage, strangers=neighbours.level)
