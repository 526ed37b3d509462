"""What choosing the best of several classifiers adds to its figure, and the figure without that.

The best of K on some images is partly the one that these images happened to favour: the best of
seven heads was told .2 to 1.2 points above the truth at 200 and 400 images. So the choice itself is
resampled: the best is chosen again on images drawn with replacement, and scored on those that were
not drawn [1]_.

References
----------
.. [1] I. Tsamardinos, E. Greasidou, G. Borboudakis (2018), Bootstrapping the out-of-sample
   predictions for efficient and accurate cross-validation, Machine Learning 107.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .intervals import Metric
from .metrics import LOWER_IS_BETTER, influences

_AT_ONCE = 2**22  # weights of groups held at once


def correct_for_choice(
    best: Metric,
    y: np.ndarray,
    probabilities: Sequence[np.ndarray],
    groups: np.ndarray,
    *,
    metric: str = "accuracy",
    by: str | None = None,
    resamples: int = 400,
    seed: int = 0,
) -> Metric:
    """Return the figure of the best of K classifiers without what choosing it adds.

    Parameters
    ----------
    best : Metric
        The metric of the first classifier as it was measured.
    y : ndarray of shape (N,), int
        True classes.
    probabilities : sequence of K ndarray of shape (N, C) or (R, N, C)
        The best first; of R draws of the training images those of each.
    groups : ndarray of shape (N,), int
        Images of one group are drawn together.
    metric : str, default="accuracy"
        Of `best`.
    by : str, optional
        The metric that chose; by default the same.
    resamples, seed : int
        Of the groups.

    Returns
    -------
    Metric
        Value and interval of `best`, moved; never to the better.

    Notes
    -----
    On a resample, metrics are taken to change by the mean influence of its images, so that all
    resamples are one product of matrices. What choosing adds is the mean difference, on the images
    not drawn, of the first classifier and the one chosen: their own mean would say the same, with
    far more noise. A choice by two thirds of the images is a little worse than one by all, so that
    the correction is rather too large than too small. Efron's estimate of the optimism, by
    comparison, left a third of it.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 400)
    >>> guesses = [rng.dirichlet([1, 1], 400) for _ in range(7)]
    >>> accuracy = [float((p.argmax(axis=1) == y).mean()) for p in guesses]
    >>> first = int(np.argmax(accuracy))
    >>> ranked = [guesses[first], *guesses[:first], *guesses[first + 1 :]]
    >>> best = Metric(accuracy[first], 0.0, 1.0)
    >>> corrected = correct_for_choice(best, y, ranked, np.arange(400))
    >>> print(f"{best.value:.3f} {corrected.value:.3f}")
    0.517 0.476
    """
    if len(probabilities) < 2:
        return best
    group = np.unique(groups, return_inverse=True)[1].reshape(-1)
    size = np.bincount(group).astype(np.float64)
    scored, chosen_by = (_linear(name, y, probabilities, group) for name in (metric, by or metric))
    sign = -1 if (by or metric) in LOWER_IS_BETTER else 1
    added: list[np.ndarray] = []
    for weights in _resampled(len(size), resamples, np.random.default_rng(seed)):
        ranked_by = sign * _values(chosen_by, weights, size)
        chosen = ranked_by.round(9).argmax(axis=1)  # of equals the first
        left = (weights == 0).astype(np.float64)
        values = _values(scored, left, size)
        apart = values[:, 0] - values[np.arange(len(values)), chosen]
        added.append(apart[left.any(axis=1)])
    apart = np.concatenate(added)
    shift = float(apart.mean()) if len(apart) else 0.0
    # By another metric the first may be one that others surpass: choosing added nothing then.
    shift = min(0.0, shift) if metric in LOWER_IS_BETTER else max(0.0, shift)
    value, low, high = (max(0.0, number - shift) for number in (best.value, best.low, best.high))
    return Metric(value, low, high if metric in LOWER_IS_BETTER else min(1.0, high))


def _linear(
    metric: str, y: np.ndarray, probabilities: Sequence[np.ndarray], group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return values (K,) and the influences of groups (K, G), both means over draws."""
    values, totals = [], []
    for p in probabilities:
        found = [influences(metric, y, draw) for draw in (p if p.ndim == 3 else p[None])]
        known = [one for one in found if one is not None]
        values.append(np.mean([value for value, _ in known]))
        influence = np.mean([influence for _, influence in known], axis=0)
        totals.append(np.bincount(group, weights=influence))
    return np.array(values), np.array(totals)


def _values(
    linear: tuple[np.ndarray, np.ndarray], weights: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """Return the metric (B, K) of K classifiers under B weightings of the groups (B, G)."""
    values, totals = linear
    return values + weights @ totals.T / np.maximum(weights @ size, 1)[:, None]


def _resampled(G: int, resamples: int, rng: np.random.Generator):
    """Yield how often each of G groups is drawn, (B, G), until there are enough resamples."""
    at_once = max(1, _AT_ONCE // G)
    for start in range(0, resamples, at_once):
        B = min(at_once, resamples - start)
        drawn = rng.integers(0, G, (B, G)) + np.arange(B)[:, None] * G
        yield np.bincount(drawn.ravel(), minlength=B * G).reshape(B, G).astype(np.float64)
