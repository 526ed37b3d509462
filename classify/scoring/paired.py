"""Two classifiers on the same images: how far apart they are, and whether that is chance.

Images of one group (copies, photos of one patient) are dependent, so groups are what is drawn here,
flipped or resampled. For independent images the test of accuracy is McNemar's exact one.

References
----------
.. [1] Q. McNemar (1947), Note on the sampling error of the difference between correlated
   proportions or percentages, Psychometrika 12.
.. [2] E. J. G. Pitman (1937), Significance tests which may be applied to samples from any
   populations, Supplement to the Journal of the Royal Statistical Society 4.
.. [3] A. Agresti, Y. Min (2005), Simple improved confidence intervals for comparing matched
   proportions, Statistics in Medicine 24.
.. [4] B. Efron, R. J. Tibshirani (1993), An introduction to the bootstrap, Chapman and Hall.
.. [5] S. Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal
   of Statistics 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .intervals import Z
from .metrics import image_loss

_CHUNK = 2**22  # weights of images held at once


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
    resamples: int = 2000,
    seed: int = 0,
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
    resamples : int, default=2000
        Of groups; the accuracy needs none.
    seed : int, default=0
        Of the resamples. Equal seeds draw equal resamples for any two classifiers.

    Returns
    -------
    Difference
    """
    group = np.unique(groups, return_inverse=True)[1].reshape(-1)
    a, b = (p if p.ndim == 3 else p[None] for p in (a, b))
    if metric == "accuracy":
        right = [(p.argmax(axis=2) == y).sum(axis=0) for p in (a, b)]
        return _accuracy_difference(right[0] - right[1], group, len(a))
    statistic = {
        "balanced_accuracy": _balanced_accuracy,
        "macro_f1": _macro_f1,
        "log_loss": _log_loss,
        "roc_auc": _roc_auc,
    }[metric]
    differ = _Paired(*([statistic(y, p, group) for p in draws] for draws in (a, b)))
    value = float(differ(np.ones((1, group.max() + 1)))[0])
    return _percentile(value, _resample(differ, group, resamples, seed))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, by Holm's step-down procedure [5]_.

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


def _accuracy_difference(gains: np.ndarray, group: np.ndarray, draws: int) -> Difference:
    """Difference of accuracies from the gains of each image over all draws, each 1, 0 or -1.

    The interval is Agresti and Min's [3]_, which adds half an image to each of the four outcomes of
    a pair, so that two classifiers that never differ do not get an interval of no width; the sum of
    squares about the mean is taken over groups. With groups of one image it is theirs exactly. (A
    bootstrap of the few images on which good classifiers differ is too coarse.)
    """
    gain = gains / draws
    n = len(gain) + 2
    total = np.bincount(group, weights=gain)
    size = np.bincount(group)
    centre = gain.sum() / n
    spread = ((total - centre * size) ** 2).sum() + 1 + 2 * centre**2
    half = Z * float(np.sqrt(spread)) / n
    value = float(gain.mean())
    return Difference(
        value,
        max(-1.0, min(value, float(centre - half))),
        min(1.0, max(value, float(centre + half))),
        _sign_flip(np.rint(draws * total).astype(np.int64)),
    )


def _sign_flip(totals: np.ndarray) -> float:
    """Return the exact two-sided p-value of a sum of group totals under random signs [2]_.

    If neither classifier is better, each group might as well have come out the other way round. For
    totals of 1 and -1 only, this is McNemar's exact binomial test [1]_.

    With signs s_g, ``sum s_g |d_g| = 2 T - sum |d_g|`` where T sums the |d_g| of the heads among
    fair coins: its distribution is a binomial one, convolved with one coin a larger group.
    """
    sizes = np.abs(totals[totals != 0])
    all_of_them = int(sizes.sum())
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, all_of_them + 1)))])
    n = int((sizes == 1).sum())
    k = np.arange(n + 1)
    pmf = np.zeros(all_of_them + 1)
    pmf[: n + 1] = np.exp(
        log_factorial[n] - log_factorial[k] - log_factorial[n - k] - n * np.log(2)
    )
    for size in sizes[sizes > 1]:
        shifted = np.concatenate([np.zeros(size), pmf[:-size]])
        pmf = (pmf + shifted) / 2
    least = (all_of_them + abs(int(totals.sum()))) // 2
    return float(min(1.0, 2 * pmf[least:].sum()))


# The statistics below map weights of groups, (B, G), to values, (B,).
Statistic = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Paired:
    a: Sequence[Statistic]  # of each draw
    b: Sequence[Statistic]

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        means = (np.mean([one(weights) for one in draws], axis=0) for draws in (self.a, self.b))
        return next(means) - next(means)


def _resample(differ: Statistic, group: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the statistic of resamples, each of as many groups as there are, with replacement."""
    rng = np.random.default_rng(seed)
    G = int(group.max()) + 1
    at_once = max(1, _CHUNK // len(group))
    values = []
    for start in range(0, resamples, at_once):
        B = min(at_once, resamples - start)
        drawn = rng.integers(0, G, (B, G)) + np.arange(B)[:, None] * G
        weights = np.bincount(drawn.ravel(), minlength=B * G).reshape(B, G).astype(np.float64)
        values.append(differ(weights))
    return np.concatenate(values)


def _percentile(value: float, values: np.ndarray) -> Difference:
    """Return the percentile interval [4]_ and the p-value at which it would just hold 0."""
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (-np.inf, np.inf)
    tail = min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    p_value = min(1.0, 2 * (tail + 1) / (len(values) + 1))
    return Difference(value, min(value, float(low)), max(value, float(high)), p_value)


def _log_loss(y: np.ndarray, p: np.ndarray, group: np.ndarray) -> Statistic:
    own = p[np.arange(len(y)), y].astype(np.float64)
    loss = np.bincount(group, weights=image_loss(own))
    size = np.bincount(group).astype(np.float64)
    return lambda weights: (weights @ loss) / (weights @ size)


def _balanced_accuracy(y: np.ndarray, p: np.ndarray, group: np.ndarray) -> Statistic:
    """Mean recall over the classes that a resample has."""
    right = p.argmax(axis=1) == y
    hits, size = _Tally(y[right], group[right], p, group), _Tally(y, group, p, group)

    def value(weights: np.ndarray) -> np.ndarray:
        n = size(weights)
        return (hits(weights) / np.maximum(n, 1)).sum(axis=0) / (n > 0).sum(axis=0)

    return value


def _macro_f1(y: np.ndarray, p: np.ndarray, group: np.ndarray) -> Statistic:
    """Mean of 2 TP / (true + predicted) over the classes in either."""
    predicted = p.argmax(axis=1)
    right = predicted == y
    hits = _Tally(y[right], group[right], p, group)
    both = _Tally(np.concatenate([y, predicted]), np.concatenate([group, group]), p, group)

    def value(weights: np.ndarray) -> np.ndarray:
        n = both(weights)
        return (2 * hits(weights) / np.maximum(n, 1)).sum(axis=0) / (n > 0).sum(axis=0)

    return value


class _Tally:
    """Counts images by class under weights of groups: (B, G) to (C, B). Sparse: C may be large."""

    def __init__(
        self, classes: np.ndarray, member: np.ndarray, p: np.ndarray, group: np.ndarray
    ) -> None:
        from scipy.sparse import csr_array

        shape = (p.shape[1], int(group.max()) + 1)
        self._counts = csr_array((np.ones(len(classes)), (classes, member)), shape)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return self._counts @ weights.T


def _roc_auc(y: np.ndarray, p: np.ndarray, group: np.ndarray) -> Statistic:
    """Area under the curve of class 1 of two, else the mean over classes against the rest."""
    C = p.shape[1]
    areas = [_area(y == c, p[:, c], group) for c in ([1] if C == 2 else range(C)) if (y == c).any()]

    def value(weights: np.ndarray) -> np.ndarray:
        parts = np.stack([area(weights) for area in areas])
        known = np.isfinite(parts)
        total = np.where(known, parts, 0).sum(axis=0)
        return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)

    return value


def _area(positive: np.ndarray, scores: np.ndarray, group: np.ndarray) -> Statistic:
    """Share of (positive, negative) pairs in the right order, ties counting half; else nan."""
    order = np.argsort(scores, kind="stable")
    ordered, positive, member = scores[order], positive[order], group[order]
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")

    def value(weights: np.ndarray) -> np.ndarray:
        w = weights[:, member]
        below = np.zeros((len(w), len(order) + 1))
        np.cumsum(w * ~positive, axis=1, out=below[:, 1:])
        w = w[:, positive]
        pairs = w.sum(axis=1) * below[:, -1]
        rank = below[:, first[positive]] + below[:, last[positive]]
        won = np.einsum("bi,bi->b", w, rank) / 2
        return np.where(pairs > 0, won / np.maximum(pairs, 1), np.nan)

    return value
