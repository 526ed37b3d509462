"""Classifiers on the same images: how far apart they are, and whether that is chance.

If neither of two classifiers is better, each image might as well have come out the other way round.
So what each image adds to the difference gets a random sign, and the p-value says how rarely the
sum is as far from zero as the one seen [2]_. Where an image adds 1, 0 or -1, as with the accuracy,
that is McNemar's exact test [1]_. Images of one group (copies, photos of one patient) are
dependent, and their sum gets one sign.

Of K classifiers the best is chosen by the same images, so that it may have been any pair that is
looked at in the end: p-values are corrected for all pairs. Among seven equal heads, correcting for
the six others only, and taking folds for independent, claimed a difference in up to 28% of data
sets; this does in at most 5%. `benchmarks/claims/tests_among_heads.py` counts.

References
----------
.. [1] Q. McNemar (1947), Note on the sampling error of the difference between correlated
   proportions or percentages, Psychometrika 12.
.. [2] E. J. G. Pitman (1937), Significance tests which may be applied to samples from any
   populations, Supplement to the Journal of the Royal Statistical Society 4.
.. [3] A. Agresti, Y. Min (2005), Simple improved confidence intervals for comparing matched
   proportions, Statistics in Medicine 24.
.. [4] S. Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal
   of Statistics 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from .intervals import Z, variance_of_folds
from .metrics import influences
from .roc import midranks
from .tails import binomial_tail


@dataclass(frozen=True)
class Difference:
    """A minus B, with its 95% interval and the p-value of "no difference"."""

    value: float
    low: float
    high: float
    p_value: float


def compare_paired(
    metric: str,
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    groups: np.ndarray,
    *,
    n_folds: int = 1,
) -> Difference:
    """Compare two classifiers by a metric, on the same N images.

    Parameters
    ----------
    metric : {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc"}
        As in `tlx.classify.scoring.metrics.score`.
    y : ndarray of shape (N,), int
        True classes.
    a, b : ndarray of shape (N, C) or (R, N, C)
        Probabilities; of R draws of the training images those of each. The metric is then the mean
        over the draws, which are taken as given.
    groups : ndarray of shape (N,), int
    n_folds : int, default=1
        Folds that the images were scored in. Folds share training images, so the variance of the
        difference is as much larger as that of a score is: see
        `tlx.classify.scoring.intervals.allow_for_folds`.

    Returns
    -------
    Difference

    Notes
    -----
    The interval is Agresti and Min's [3]_ for the accuracy, and for the other shares in their way:
    two images more, on one of which either classifier is right alone, so that two classifiers that
    never differ do not get an interval of no width. In a mean over classes an image counts by the
    size of its class. Of groups it is two groups more, and squares are those of their sums.
    """
    group = np.unique(groups, return_inverse=True)[1].reshape(-1)
    a, b = (p if p.ndim == 3 else p[None] for p in (a, b))
    draws = [_gains(metric, y, p, q) for p, q in zip(a, b, strict=True)]
    value = float(np.mean([value for value, _ in draws]))
    total = np.bincount(group, weights=np.mean([gains for _, gains in draws], axis=0))
    spread = variance_of_folds(n_folds)
    p_value = _sign_flip(value * len(y), total, spread)
    one = _one_more(metric, y) * len(y) / len(total)
    n = len(y) + 2 * len(y) / len(total) * (one > 0)
    centre = value * len(y) / n
    square = float(((total - centre * np.bincount(group)) ** 2).sum())
    square += one**2 * (1 + 2 * centre**2)
    half = Z * np.sqrt(spread * square) / n
    bound = np.inf if metric == "log_loss" else 1.0
    return Difference(
        value,
        max(-bound, min(value, float(centre - half))),
        min(bound, max(value, float(centre + half))),
        p_value,
    )


def compare_with_first(
    metric: str,
    y: np.ndarray,
    probabilities: Sequence[np.ndarray],
    groups: np.ndarray,
    *,
    n_folds: int = 1,
) -> list[Difference]:
    """Compare each of K classifiers with the first, which came first by the same images.

    Parameters
    ----------
    metric, y, groups, n_folds
        See `compare_paired`.
    probabilities : sequence of K ndarray of shape (N, C) or (R, N, C)
        The best first.

    Returns
    -------
    list of K Difference
        Each minus the first. p-values are corrected by Holm's method [4]_ for all pairs of
        classifiers, of which those with the same probabilities count as one.
    """
    same_as = first_alike(probabilities)
    pairs = list(combinations(sorted(set(same_as)), 2))
    found = [
        compare_paired(metric, y, probabilities[k], probabilities[i], groups, n_folds=n_folds)
        for i, k in pairs
    ]
    corrected = holm([difference.p_value for difference in found])
    from_first = {
        k: replace(difference, p_value=p)
        for (i, k), difference, p in zip(pairs, found, corrected, strict=True)
        if i == 0
    }
    from_first[0] = Difference(0.0, 0.0, 0.0, 1.0)
    return [from_first[k] for k in same_as]


def first_alike(probabilities: Sequence[np.ndarray]) -> list[int]:
    """Return for each classifier the first one that has the same probabilities.

    Examples
    --------
    >>> first_alike([np.array([0.1]), np.array([0.2]), np.array([0.1])])
    [0, 1, 0]
    """
    same_as: list[int] = []
    for k, p in enumerate(probabilities):
        is_same = (i for i in sorted(set(same_as)) if np.array_equal(p, probabilities[i]))
        same_as.append(next(is_same, k))
    return same_as


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, by Holm's step-down procedure [4]_.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    out = np.empty(len(p))
    out[order] = np.minimum(corrected, 1)
    return out.tolist()


def _gains(metric: str, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the difference of the metric, and what each image adds to N times that, (N,).

    It is the influence of the image with a's probabilities less that with b's, both on the images
    of a and b together. For the accuracy that is 1, 0 or -1. (The difference of the influences on
    a and on b alone vanishes in a small class of which only a is right, as if that were certain.)
    """
    N = len(y)
    values = [influences(metric, y, p) for p in (a, b)]
    if values[0] is None or values[1] is None:
        raise ValueError(f"no {metric} of images of one class")
    value = values[0][0] - values[1][0]
    if metric == "roc_auc":  # it knows ranks within a and within b alone
        a, b = (np.stack([midranks(column) for column in p.T], axis=1) for p in (a, b))
    together = influences(metric, np.concatenate([y, y]), np.concatenate([a, b]))
    assert together is not None, "there are both classes"
    return value, together[1][:N] - together[1][N:]


def _one_more(metric: str, y: np.ndarray) -> float:
    """Return what an image more that only one classifier gets right adds to the gains.

    In a mean over classes that is the root of its mean square over the classes. For the log loss
    there is no such size.
    """
    if metric in ("accuracy", "log_loss"):
        return float(metric == "accuracy")
    size = np.bincount(y)
    size = size[size > 0]
    return float(np.sqrt(np.mean((len(y) / (size * len(size))) ** 2)))


def _sign_flip(total: float, totals: np.ndarray, spread: float) -> float:
    """Return the two-sided p-value of a sum under random signs of what groups add to it [2]_.

    n coins of s each have the same largest sum and the same variance as the groups have if
    ``n s = sum |d_g|`` and ``n s^2 = sum d_g^2``; where all d_g are 1, 0 or -1 this is exact. A
    variance that is larger by the factor `spread` is that of so many fewer coins, n / spread. Their
    number need not be whole in the tail of the binomial distribution.
    """
    size = np.abs(totals)
    square = float(size @ size)
    if square == 0:
        return 1.0
    s = square / float(size.sum())
    n = float(size.sum()) / s
    heads_less_tails = min(abs(total) / s, n)
    return min(1.0, 2 * binomial_tail(n / spread, (n + heads_less_tails) / 2 / spread))
