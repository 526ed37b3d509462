"""What a head holds out of its own rows: to stop early, or to scale its probabilities."""

from __future__ import annotations

import numpy as np

from ..folds import groups_per_class, stratified_group_folds
from .newton import increasing_root


def inner_folds(
    y: np.ndarray, groups: np.ndarray, n_folds: int, seed: int
) -> tuple[np.ndarray, int]:
    """Deal rows into folds as evenly as their groups allow; some are never held out.

    Unlike `tlx.classify.folds.stratified_group_folds` this never refuses: a class of a single group
    stays in training always, and there are as many folds as the rarest other class has groups.

    Parameters
    ----------
    y, groups : ndarray of shape (n,), int
    n_folds : int
        The most folds.
    seed : int

    Returns
    -------
    fold : ndarray of shape (n,), int
        0 to the number of folds - 1; -1 for rows that are never held out.
    n_folds : int
        0 if nothing can be held out.
    """
    fold = np.full(len(y), -1)
    counts = groups_per_class(y, groups)[y]  # (n,) groups of each row's class
    # A group that holds some of a class of a single group stays in training as a whole.
    rows = np.flatnonzero(~np.isin(groups, groups[counts < 2]))
    while len(rows):
        counts = groups_per_class(y[rows], groups[rows])
        least = counts[np.unique(y[rows])].min()
        if least >= 2:
            break
        rows = rows[counts[y[rows]] >= 2]
    if not len(rows):
        return fold, 0
    n_folds = min(n_folds, int(least))
    fold[rows] = stratified_group_folds(y[rows], groups[rows], n_folds, seed)
    return fold, n_folds


def fit_scale(decisions: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the factor that turns decision values into logits.

    It is Platt's method [1]_ without an offset, so that the decision stays the same: the factor
    that minimises the log loss of ``softmax(factor * decisions)`` on rows that the decisions have
    not seen. As in his method the targets fall short of certainty, here by (n + C)^-1, or rows
    that are separated would ask for an infinite factor.

    Parameters
    ----------
    decisions : ndarray of shape (n, C)
    y : ndarray of shape (n,), int
    weight : ndarray of shape (n,), optional

    Returns
    -------
    float
        1.0 if there are no rows.

    References
    ----------
    .. [1] J. Platt (1999), Probabilistic outputs for support vector machines, Advances in Large
       Margin Classifiers.
    """
    if not len(y):
        return 1.0
    d = decisions.astype(np.float64)
    n, C = d.shape
    weight = np.ones(n) if weight is None else weight.astype(np.float64)
    shortfall = 1 / (n + C)
    target = np.full((n, C), shortfall / C)
    target[np.arange(n), y] += 1 - shortfall
    d -= d.mean(axis=1, keepdims=True)
    wanted = (target * d).sum(axis=1)
    spread = max(float(np.sqrt(np.mean(d * d))), 1e-12)

    def derivatives(log_factor: float) -> tuple[float, float]:
        factor = np.exp(log_factor)
        logits = factor * d
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        mean = (p * d).sum(axis=1)
        slope = factor * float(weight @ (mean - wanted))
        bend = float(weight @ ((p * d * d).sum(axis=1) - mean**2))
        return slope, slope + factor**2 * bend

    # The loss is convex in the factor, so its derivative by the logarithm has one zero.
    t = float(np.log(1 / spread))
    wide = float(np.log(1e4))
    return float(np.exp(increasing_root(derivatives, t, t - wide, t + wide, 1e-7)))
