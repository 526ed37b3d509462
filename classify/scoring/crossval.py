"""Honest numbers: which rows a head learns from, which it is scored on, and how C is chosen.

With a validation split, a head is trained on train and scored on validation; images of train that
are copies of, or of one group with, images of validation are left out. Without one, nested
cross-validation: each outer fold is scored by a head that never saw it, and whose parameters were
chosen by inner folds that never saw it either. The head kept learned from all images, and those
scored from (K - 1) / K of them: it is usually a little better than its figures. Either way the
choice is by mean log loss, which uses the whole probability and so is less noisy than accuracy when
images are few.

The probabilities scored and kept are those that the head will give: calibrated, each by a
temperature that was fitted without the image. It comes from what the inner folds held out, at the
parameters that they chose: no fit is made for it. With a validation split the images of validation
join them, for each half of these those of the other. Of several folds each takes its own inner ones
alone, and the kept head's temperature comes from all outer ones, at its own parameters. Where
nothing is searched there are no inner folds: then a fold has its temperature from the other folds,
whose heads learned from its images; it is blind to the image, and not wholly so to its label. Only
``ece_raw`` tells of probabilities before calibration.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import DataError
from ...progress import Progress, share, silent
from ...reprs import html_table
from ..heads.head import Head
from ..heads.registry import each_member, get_head, points
from ..sources import Source
from ..table import Features
from .calibrate import (
    calibrate_head,
    cross_calibrate,
    fit_temperature,
)
from .choice import choose_features, told
from .ece import calibration_error
from .intervals import allow_for_folds, average_draws
from .metrics import Metric, confusion_matrix, score
from .plan import make_plan
from .roc import allow_for_pooling
from .search import search, told_of_many

_TIMED = 2000  # rows that the kept head predicts to take its time


FEW_SHOT = ("max_per_class", "repeats")  # options that say what to learn from
PROTOCOL = (*FEW_SHOT, "repeats_cv")  # options that say how to score, as folds do
_NEXT_SEED = 7919  # from one repeat of the folds to the next


@dataclass(frozen=True)
class Recipe:
    """What fits the same head again, on whatever images.

    Attributes
    ----------
    model : str
    folds : int
    grid : dict of str to list, or None
        Candidates by parameter; None for the head's own.
    options : dict
        Fixed parameters of the head; ``max_per_class`` and ``repeats`` of a few-shot run, and
        ``repeats_cv`` of repeated folds.
    """

    model: str
    folds: int = 5
    grid: dict[str, list[float]] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def few_shot(self) -> dict[str, Any]:
        """The options that say how much to learn from."""
        return {k: v for k, v in self.options.items() if k in FEW_SHOT}

    @property
    def protocol(self) -> dict[str, Any]:
        """The options that say how to score: those, and how often the folds are dealt."""
        return {k: v for k, v in self.options.items() if k in PROTOCOL}

    @property
    def fixed(self) -> dict[str, Any]:
        """The other options: the fixed parameters of the head."""
        return {k: v for k, v in self.options.items() if k not in PROTOCOL}

    @property
    def draws(self) -> int:
        """Over how many draws of few images, or repeats of the folds, the metrics are means."""
        return self.options.get("repeats_cv") or self.options.get("repeats", 1)

    def evaluate(self, table: Features, seed: int, progress: Progress = silent) -> Evaluation:
        """Fit and score the head on a table: see `evaluate_head`."""
        return evaluate_head(
            table,
            self.model,
            n_folds=self.folds,
            seed=seed,
            grid=self.grid,
            progress=progress,
            **self.options,
        )


@dataclass(repr=False)
class Evaluation:
    """A head and what it is worth. M images were scored.

    Attributes
    ----------
    recipe : Recipe
        What fits the same head again.
    protocol : str
    head : predictor
        Fitted on all rows of `trained_on`, and calibrated.
    params : dict
        What was chosen for it.
    metrics : dict of str to Metric
    confusion : ndarray of shape (C, C), int
        Rows are true classes, columns predicted ones.
    rows : ndarray of shape (M,), int
        Rows of the table that were scored, in increasing order.
    fold : ndarray of shape (M,), int
        Which scored fit held each of them out.
    probabilities : ndarray of shape (M, C), float64
        Given by a head that had not seen the image, and calibrated by a temperature fitted without
        it.
    trained_on : ndarray of int
        Rows that the kept head learned from.
    seconds : float
        Of the whole evaluation.
    temperature : float
        What the kept head's probabilities were calibrated with.
    predict_seconds : float
        That the kept head takes for one image, its feature given, within a large batch.
    draws : ndarray of shape (R, M, C), float64, or None
        Of several draws of few images, or repeats of the folds: the probabilities of each, the
        first ones first.
    sources : list of Source
        Of the features that the head takes: see `Features`.
    features_chosen : dict or None
        Where there were several tables: see `tlx.classify.scoring.choice.choose_features`.
    """

    recipe: Recipe
    protocol: str
    head: Any
    params: dict[str, Any]
    metrics: dict[str, Metric]
    confusion: np.ndarray
    rows: np.ndarray
    fold: np.ndarray
    probabilities: np.ndarray
    trained_on: np.ndarray
    seconds: float
    temperature: float
    predict_seconds: float
    draws: np.ndarray | None = None
    sources: list[Source] = field(default_factory=list)
    features_chosen: dict[str, Any] | None = None

    def __repr__(self) -> str:
        accuracy = self.metrics["accuracy"]
        return (
            f"<Evaluation: {self.recipe.model}, accuracy {accuracy} of {len(self.rows)} images, "
            f"{self.protocol}>"
        )

    def _repr_html_(self) -> str:
        return html_table(repr(self), ("metric", "95% interval"), self.metrics.items())


def evaluate_head(
    table: Features,
    model: Any = "logreg",
    *,
    n_folds: int = 5,
    seed: int = 0,
    grid: dict[str, list[float]] | None = None,
    max_per_class: int | None = None,
    repeats: int | None = None,
    repeats_cv: int | None = None,
    others: Sequence[Features] = (),
    progress: Progress = silent,
    **params: Any,
) -> Evaluation:
    """Choose a head's parameters, fit it, and score it on images that it has not seen.

    Parameters
    ----------
    table : Features
    model : str or classifier, default="logreg"
        A name of `tlx.classify.heads.registry.heads`, or any classifier of scikit-learn's kind.
    n_folds, seed : int
        See `make_plan`.
    grid : dict, optional
        Candidates by parameter; by default the head's own. With a single point nothing is chosen,
        and there are no inner folds.
    max_per_class : int, optional
        Few-shot: learn from so many images of each class at most.
    repeats : int, optional
        With `max_per_class`: how many times the images are drawn, by default 5. The metrics are
        means over the draws (see `average_draws`); all else is of the first draw.
    repeats_cv : int, optional
        Deal the folds anew so many times, each calibrated by itself. The metrics are means over
        these repeats; all else is of the first, which is the one without this option.
    others : sequence of Features, optional
        The same rows with other features: each fit chooses among `table` and these, by inner folds,
        as `tlx.classify.scoring.choice.choose_features` says. There are such folds even if nothing
        else is searched.
    progress : Progress, optional
        Told how much is done.
    **params
        Options of the head; one that is searched otherwise is fixed.

    Returns
    -------
    Evaluation

    Raises
    ------
    DataError
        If there are repeats without `max_per_class`, or fewer than one; or `repeats_cv` with it,
        with a validation split, or fewer than two. Also see `make_plan`.
    FitError, UnknownNameError
        See `make_plan` and `tlx.classify.heads.registry.fit_grid`.
    """
    model = get_head(model)
    _check_repeats(table, max_per_class, repeats, repeats_cv)
    asked = {"max_per_class": max_per_class, "repeats": repeats, "repeats_cv": repeats_cv}
    if max_per_class is not None and repeats is None:
        asked["repeats"] = 5
    options = {**params, **{name: value for name, value in asked.items() if value is not None}}
    n = Recipe(model.name, options=options).draws
    seeds = [(seed + _NEXT_SEED * i * (repeats_cv is not None)) % 2**32 for i in range(n)]
    draws = [
        _evaluate(
            [table, *others],
            model,
            n_folds,
            seeds[i],
            grid,
            params,
            share(progress, i, 1, n),
            max_per_class,
            i if max_per_class is not None else 0,
        )
        for i in range(n)
    ]
    if options == params:
        return draws[0]
    first = draws[0]
    how = f"mean of {n} repeats" if repeats_cv else f"{max_per_class} a class, mean of {n} draws"
    return replace(
        first,
        protocol=f"{first.protocol}, {how}",
        metrics=average_draws([draw.metrics for draw in draws], learned_anew=not repeats_cv),
        seconds=sum(draw.seconds for draw in draws),
        draws=np.stack([draw.probabilities for draw in draws]) if n > 1 else None,
        recipe=replace(first.recipe, options=options),
    )


def _check_repeats(
    table: Features, max_per_class: int | None, repeats: int | None, repeats_cv: int | None
) -> None:
    """Refuse repeats of what is the same each time, and numbers of them that make no sense."""
    if repeats is not None and max_per_class is None:
        raise DataError(
            f"{repeats} repeats of the same.",
            "Repeats draw few images anew: add --max-per-class 10, say; or deal the folds anew: "
            f"--repeats-cv {repeats}",
        )
    if repeats is not None and repeats < 1:
        raise DataError(f"{repeats} repeats.", "Use --repeats 1 or more.")
    if repeats_cv is None:
        return
    if max_per_class is not None:
        raise DataError(
            f"{repeats_cv} repeats of the folds, and {max_per_class} images a class.",
            "Few images are drawn anew by --repeats: use it instead of --repeats-cv.",
        )
    if (table.split == "validation").any():
        raise DataError(
            f"{repeats_cv} repeats of the folds, and data set {table.dataset!r} has a validation "
            "split, which is scored instead of folds.",
            "Leave --repeats-cv out.",
        )
    if repeats_cv < 2:
        raise DataError(f"{repeats_cv} repeats of the folds.", "Use --repeats-cv 2 or more.")


def _evaluate(
    tables: list[Features],
    model: Head,
    n_folds: int,
    seed: int,
    grid: dict[str, list[float]] | None,
    params: dict[str, Any],
    progress: Progress,
    max_per_class: int | None = None,
    draw: int = 0,
) -> Evaluation:
    started = time.perf_counter()
    table, n = tables[0], len(tables)
    members = each_member(model, params, grid)
    n_points = math.prod(points(own) for _, _, own in members)
    plan = make_plan(
        table,
        n_folds,
        seed,
        search=n_points > 1 or n > 1,
        max_per_class=max_per_class,
        draw=draw,
    )
    parts = [share(progress, i, 1, n) for i in range(n)]
    found = [
        search(each, plan, members, seed, part) for each, part in zip(tables, parts, strict=True)
    ]
    taken, report = dict.fromkeys(found[0], 0), None
    if n > 1:
        taken, report = choose_features(tables, plan, found)
    chosen, used = {k: found[i][k] for k, i in taken.items()}, tables[taken[plan.kept]]

    rows = np.concatenate([plan.fits[k].held_out for k in plan.scored])
    order = np.argsort(rows)
    fold = np.repeat(np.arange(len(plan.scored)), [len(plan.fits[k].held_out) for k in plan.scored])
    raw = np.concatenate([chosen[k].proba[k] for k in plan.scored])
    rows, fold, raw = rows[order], fold[order], raw[order]
    y, groups = table.y[rows], table.groups[rows]
    inner = [told(table, plan, chosen[k], plan.fits[k].inner) for k in plan.scored]
    proba, _ = cross_calibrate(y, raw, fold, groups, seed, inner)
    kept = chosen[plan.kept]
    temperature = fit_temperature(*told(table, plan, kept, plan.calibrating(plan.kept)))
    head = calibrate_head(kept.head, temperature)
    return Evaluation(
        recipe=Recipe(model.name, n_folds, grid, params),
        protocol=plan.protocol + told_of_many(table, plan, members),
        head=head,
        params={**params, **kept.params},
        metrics=score_calibrated(y, raw, proba, groups, fold),
        confusion=confusion_matrix(y, proba.argmax(axis=1), len(table.class_names)),
        rows=rows,
        fold=fold,
        probabilities=proba,
        trained_on=plan.fits[plan.kept].train,
        seconds=time.perf_counter() - started,
        temperature=temperature,
        predict_seconds=_predict_seconds(head, used.X[rows[:_TIMED]]),
        sources=used.sources,
        features_chosen=report,
    )


def score_calibrated(
    y: np.ndarray, raw: np.ndarray, proba: np.ndarray, groups: np.ndarray, fold: np.ndarray
) -> dict[str, Metric]:
    """Return all metrics of calibrated probabilities, with intervals that allow for the folds.

    Parameters
    ----------
    y, groups, fold : ndarray of shape (M,), int
    raw, proba : ndarray of shape (M, C)
        Before and after calibration.
    """
    metrics = {
        **score(y, proba, groups),
        "ece_raw": calibration_error(y, raw, groups),
        "ece": calibration_error(y, proba, groups),
    }
    metrics = allow_for_folds(metrics, len(np.unique(fold)))
    if "roc_auc" in metrics:
        metrics["roc_auc"] = allow_for_pooling(metrics["roc_auc"], y, proba, fold)
    return metrics


def _predict_seconds(head: Any, X: np.ndarray) -> float:
    """Return the least time, a row, of predicting X at once: the first call is slow."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.05 and len(times) < 50):
        started = time.perf_counter()
        head.predict_proba(X)
        times.append(time.perf_counter() - started)
    return min(times) / len(X)
