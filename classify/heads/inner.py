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


def fit_scale(
    decisions: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, guess: float = 0.0
) -> float:
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
    guess : float, optional
        A factor of about the right size, which saves time.

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
    d = np.ascontiguousarray(decisions.T, np.float64)  # (C, n): sums over classes are of rows
    C, n = d.shape
    weight = np.ones(n) if weight is None else weight.astype(np.float64)
    shortfall = 1 / (n + C)
    target = np.full((C, n), shortfall / C)
    target[y, np.arange(n)] += 1 - shortfall
    d = d - d.mean(axis=0)
    wanted = (target * d).sum(axis=0)
    highest = d.max(axis=0)
    spread = max(float(np.sqrt(np.mean(d * d))), 1e-12)

    def derivatives(log_factor: float) -> tuple[float, float]:
        factor = np.exp(log_factor)
        p = np.exp(factor * (d - highest))
        p *= d / p.sum(axis=0)  # p d
        mean = p.sum(axis=0)
        slope = factor * float(weight @ (mean - wanted))
        bend = float(weight @ (np.einsum("cn,cn->n", p, d) - mean**2))
        return slope, slope + factor**2 * bend

    # The loss is convex in the factor, so its derivative by the logarithm has one zero.
    t = float(np.log(1 / spread))
    wide = float(np.log(1e4))
    start = float(np.clip(np.log(guess), t - wide, t + wide)) if guess > 0 else t
    return float(np.exp(increasing_root(derivatives, start, t - wide, t + wide, 1e-4)))
