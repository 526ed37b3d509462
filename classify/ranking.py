"""Runs scored on the same images, the best first, and how surely each is worse than it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from .runs.best import stands_for_itself
from .runs.run import Run
from .scoring.equivalence import images_needed, verdict
from .scoring.metrics import LOWER_IS_BETTER, METRICS, Metric
from .scoring.paired import Difference, compare_with_first, first_alike
from .scoring.selection import correct_for_choice


@dataclass(frozen=True)
class ComparedRun:
    """One run in a comparison.

    Attributes
    ----------
    run : Run
    metric : Metric
        The metric that ranks.
    difference : Difference
        This run minus the best, on the same images; zeros and a p-value of 1 for the best itself.
        The p-value is corrected for all pairs of the runs compared.
    verdict : {"best", "equal", "worse", "not known"}
        What the difference means: see `tlx.classify.scoring.equivalence.verdict`.
    images_needed : int or None
        About how many images would tell, if the verdict is that it is not known.
    """

    run: Run
    metric: Metric
    difference: Difference
    verdict: str = "best"
    images_needed: int | None = None


def check_rope(rope: float) -> float:
    """Return the region of practical equivalence, or refuse it."""
    if isinstance(rope, (int, float)) and 0 <= rope < math.inf:
        return float(rope)
    raise DataError(
        f"a region of practical equivalence of {rope!r}.",
        "Use a difference that does not matter, such as 0.01 for one point (0 for none).",
    )


def rank_runs(
    runs: Sequence[Run],
    draws: Sequence[np.ndarray],
    y: np.ndarray,
    groups: np.ndarray,
    *,
    metric: str,
    rope: float,
    n_folds: int,
    seed: int = 0,
) -> tuple[list[ComparedRun], Metric, int]:
    """Rank runs that were scored on the same N images.

    Parameters
    ----------
    runs : sequence of K Run
    draws : sequence of K ndarray of shape (R, N, C)
        What each said of the images; R > 1 for few-shot runs.
    y, groups : ndarray of shape (N,), int
    metric : str
        What ranks. Ties go to the lower log loss, then to the newer run.
    rope : float
        Differences that do not matter.
    n_folds : int
        Folds that the images were scored in.
    seed : int, default=0
        Of the resamples that say what choosing the best adds.

    Returns
    -------
    rows : list of ComparedRun
        The best first.
    corrected : Metric
        The best's metric without what choosing it adds.
    pairs : int
        Pairs of runs that differ, for which p-values are corrected.

    Raises
    ------
    DataError
        If a run lacks the metric.
    """
    missing = [run.id for run in runs if metric not in run.metrics]
    if missing:
        raise DataError(
            f"run {missing[0]} has no {metric}.", f"Choose another metric: {', '.join(METRICS)}."
        )
    order = sorted(range(len(runs)), key=lambda k: _merit(runs[k], metric), reverse=True)
    runs, draws = [runs[k] for k in order], [draws[k] for k in order]
    differences = compare_with_first(metric, y, draws, groups, n_folds=n_folds)
    pairs = math.comb(len(set(first_alike(draws))), 2)
    rows = [ComparedRun(runs[0], runs[0].metrics[metric], differences[0])]
    for run, difference in zip(runs[1:], differences[1:], strict=True):
        told = verdict(difference, rope)
        needed = images_needed(difference, rope, len(y), pairs) if told == "not known" else None
        rows.append(ComparedRun(run, run.metrics[metric], difference, told, needed))
    corrected = correct_for_choice(rows[0].metric, y, draws, groups, metric=metric, seed=seed)
    return rows, corrected, pairs


def _merit(run: Run, metric: str) -> tuple[float, bool, float, str]:
    """Return what ranks a run, by the digits that are shown.

    Of equals one that only kept another's head comes last: its numbers are that head's but for the
    rounding of the network that computed them.
    """
    value = round(run.metrics[metric].value, 4)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    loss = run.metrics["log_loss"].value
    return sign * value, stands_for_itself(run), -loss, run.info.created
