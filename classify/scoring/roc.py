"""The area under the ROC curve with an interval that knows of small classes.

The variance of DeLong [1]_ comes from how the images of each class rank among the others. Of three
positives it knows next to nothing, and where all rank above all negatives it is zero: intervals
made from it held the truth in 71% of samples with few positives. Hanley and McNeil [2]_ give the
variance that an area has for exponential scores, whatever the sample shows. Here it counts as
so many images more of the smaller class (with its larger term given to that class, so that it is
the same for either order), and the larger of both is taken. The limits are Wilson's for as many
images as would give that variance: solved for the variance at the limit, as Newcombe [3]_ advises.

References
----------
.. [1] E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson (1988), Comparing the areas under two or
   more correlated receiver operating characteristic curves, Biometrics 44.
.. [2] J. A. Hanley, B. J. McNeil (1982), The meaning and use of the area under a receiver operating
   characteristic (ROC) curve, Radiology 143.
.. [3] R. G. Newcombe (2006), Confidence intervals for an effect size measure based on the
   Mann-Whitney statistic, part 2, Statistics in Medicine 25.
.. [4] G. Forman, M. Scholz (2010), Apples-to-apples in cross-validation studies: pitfalls in
   classifier performance measurement, ACM SIGKDD Explorations 12.
"""

from __future__ import annotations

import numpy as np

from .intervals import Metric, Z, standard_error, student, wilson

_PRIOR = 10.0  # images of the smaller class that Hanley and McNeil's variance counts for


def mean_area(y: np.ndarray, probabilities: np.ndarray) -> tuple[float, np.ndarray] | None:
    """Return the ROC AUC and the influence (N,) of each image, of mean zero.

    It is the area of class 1 for two classes, else the mean over the classes against the rest, of
    those that have both; None if there are none.
    """
    areas = _areas(y, probabilities)
    return _mean(areas) if areas else None


def roc_auc(y: np.ndarray, probabilities: np.ndarray, group: np.ndarray) -> Metric | None:
    """Return the ROC AUC of `mean_area` with its 95% interval.

    Parameters
    ----------
    y : ndarray of shape (N,), int
    probabilities : ndarray of shape (N, C)
    group : ndarray of shape (N,), int
        0 to G - 1: images of one group are dependent.

    Examples
    --------
    >>> y = np.repeat([0, 1], [297, 3])
    >>> metric = roc_auc(y, np.column_stack([1 - y, y]), np.arange(300))
    >>> metric.value, metric.low < 0.7  # three positives rank first, which says little
    (1.0, True)
    """
    areas = _areas(y, probabilities)
    if not areas:
        return None
    value, influence = _mean(areas)
    smaller, sizes = np.array(
        [_size(area, group[y == c], group[y != c]) for c, (area, _) in areas.items()]
    ).T
    spread = value * (1 - value)
    shares = np.array([area for area, _ in areas.values()])
    supposed = (shares * (1 - shares) / spread if spread > 0 else 1.0) / sizes
    # Satterthwaite's degrees of freedom: many classes tell as much as their images together.
    degrees = supposed.sum() ** 2 / (supposed**2 / np.maximum(smaller - 1, 0.5)).sum()
    supposed = supposed.sum() / len(areas) ** 2
    seen = standard_error(influence, group) ** 2 / spread if spread > 0 else 0.0
    mixed = (degrees * seen + _PRIOR * supposed) / (degrees + _PRIOR)
    wider = (student(degrees + _PRIOR) / Z) ** 2
    return wilson(value, max(1.0, 1 / max(seen, mixed) / wider))


def allow_for_pooling(
    metric: Metric, y: np.ndarray, probabilities: np.ndarray, fold: np.ndarray
) -> Metric:
    """Raise the upper limit of an area that ranks images of different folds together.

    Heads of different folds differ in what they call likely, so that pooled ranks are worse than
    those of any one head [4]_. By as much as the area is larger when images are compared with those
    of their own fold only, the limit is raised. The value stays that of the images together.

    Parameters
    ----------
    metric : Metric
        As `roc_auc` gives it.
    y, fold : ndarray of shape (N,), int
    probabilities : ndarray of shape (N, C)
    """
    areas: dict[int, list[tuple[float, int]]] = {}
    for k in np.unique(fold):
        inside = fold == k
        for c, (area, _) in _areas(y[inside], probabilities[inside]).items():
            positives = int(np.count_nonzero(y[inside] == c))
            pairs = positives * (int(inside.sum()) - positives)
            areas.setdefault(c, []).append((area, pairs))
    if not areas:
        return metric
    within = float(np.mean([_weighted(found) for found in areas.values()]))
    raised = metric.high + max(0.0, within - metric.value)
    return Metric(metric.value, metric.low, min(1.0, raised))


def _areas(y: np.ndarray, probabilities: np.ndarray) -> dict[int, tuple[float, np.ndarray]]:
    C = probabilities.shape[1]
    ranked = [c for c in ([1] if C == 2 else range(C)) if 0 < np.count_nonzero(y == c) < len(y)]
    return {c: _area(y == c, probabilities[:, c]) for c in ranked}


def _mean(areas: dict[int, tuple[float, np.ndarray]]) -> tuple[float, np.ndarray]:
    values, parts = zip(*areas.values(), strict=True)
    return float(np.mean(values)), np.sum(parts, axis=0) / len(parts)


def _weighted(found: list[tuple[float, int]]) -> float:
    values, weights = zip(*found, strict=True)
    return float(np.average(values, weights=weights))


def _size(area: float, positive: np.ndarray, negative: np.ndarray) -> tuple[int, float]:
    """Return the groups of the smaller class, and ``A (1 - A)`` over Hanley and McNeil's variance.

    ``V = A (1 - A) (1 + (m - 1) (1 - A) / (2 - A) + (n - 1) A / (1 + A)) / (m n)`` for A above 1/2.
    """
    m, n = sorted(len(np.unique(group)) for group in (positive, negative))
    A = max(area, 1 - area)
    return m, m * n / (1 + (m - 1) * (1 - A) / (2 - A) + (n - 1) * A / (1 + A))


def _area(positive: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Area under one ROC curve, and the influences from DeLong's structural components [1]_.

    The component of a positive is the share of negatives below it, that of a negative the share of
    positives above it, ties counting half. Both come from midranks: among all, less among its kind.
    """
    component = midranks(scores)
    component[positive] -= midranks(scores[positive])
    component[~positive] -= midranks(scores[~positive])
    p, n = np.count_nonzero(positive), np.count_nonzero(~positive)
    component = np.where(positive, component / n, 1 - component / p)
    value = float(component[positive].mean())
    return value, (component - value) * len(scores) / np.where(positive, p, n)


def midranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal scores sharing their mean rank."""
    # Not scipy.stats.rankdata: its import takes longer (1 to 3 s) than a head of thousands of rows.
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
