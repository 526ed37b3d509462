"""Regularisation paths of a linear support vector machine, over all folds at once.

One machine a class against the rest, with the squared hinge loss and an L2 penalty, as
`sklearn.svm.LinearSVC` has them. The loss is convex and smooth, so the solver of logistic
regression minimises it too, with all it shares between folds and strengths: only the loss differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .inner import fit_scale, inner_folds
from .linear import LinearPredictor, both_logits
from .logistic import _CHUNK, _SLOPE, _TRIALS, _Batch, _dot, _Features, _newton_or_bisect, _penalty

_FOLDS = 3  # in which a problem's own rows are held out to scale its probabilities


def svm_path(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    Cs: Sequence[float],
    *,
    groups: np.ndarray,
    seed: int = 0,
    tol: float = 1e-3,
    max_iter: int = 200,
) -> Iterator[tuple[float, list[LinearPredictor]]]:
    """Fit linear support vector machines along a grid of C, for many weightings of the rows.

    Problem f minimises for each class ``||w||^2 / 2 + C * sum_i weight[f, i] * max(0, 1 - s_i
    d_i)^2``, s_i = 1 for rows of the class and -1 for others, on features scaled by its own
    rows, the intercept unpenalised. Two classes have one decision value; more have one each.

    A margin is no probability. Three more fits, each without a third of the problem's rows, give
    those rows decision values d; probabilities are softmax(a d) (for two classes the sigmoid of
    a d) with the a of `fit_scale` on them. The class decided for stays the same.

    Parameters
    ----------
    X : ndarray of shape (N, D)
    y : ndarray of shape (N,), int
    weights : ndarray of shape (F, N)
    Cs : sequence of float
    groups : ndarray of shape (N,), int
        Kept whole by the three fits.
    seed : int, default=0
        Of the thirds.
    tol, max_iter
        As in `tlx.classify.heads.logistic.logistic_path`. This loss is eight times as curved, so
        the same gradient is eight times as near to the solution.

    Yields
    ------
    C : float
        Ascending.
    heads : list of F LinearPredictor
    """
    folds = [_thirds(y, groups, weight, seed) for weight in weights]
    without = [
        [weight * (fold != k) for k in range(n)]
        for weight, (fold, n) in zip(weights, folds, strict=True)
    ]
    fits = np.concatenate([weights, *[np.stack(rows) for rows in without if rows]])
    for C, coef, intercept, decisions in _decision_path(X, y, fits, Cs, tol, max_iter):
        heads, companion = [], len(weights)
        for problem, (fold, n) in enumerate(folds):
            held = [np.flatnonzero(fold == k) for k in range(n)]
            rows = np.concatenate([np.empty(0, int), *held])
            blocks = [decisions[companion + k][part] for k, part in enumerate(held)]
            companion += n
            scale = 1.0
            if len(rows):
                seen = both_logits(np.concatenate(blocks))
                scale = fit_scale(seen, y[rows], weights[problem][rows])
            head = LinearPredictor(both_logits(coef[problem]), both_logits(intercept[problem]))
            absent = np.bincount(y[weights[problem] > 0], minlength=y.max() + 1) == 0
            heads.append(head.scaled(scale).without(absent))
        yield C, heads


def _thirds(
    y: np.ndarray, groups: np.ndarray, weight: np.ndarray, seed: int
) -> tuple[np.ndarray, int]:
    """Return the fold (N,) of each row of a problem, -1 for all others, and their number."""
    rows = np.flatnonzero(weight > 0)
    fold = np.full(len(y), -1)
    fold[rows], n = inner_folds(y[rows], groups[rows], _FOLDS, seed)
    if any(len(np.unique(y[rows[fold[rows] != k]])) < 2 for k in range(n)):
        return np.full(len(y), -1), 0
    return fold, n


def _decision_path(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    Cs: Sequence[float],
    tol: float,
    max_iter: int,
) -> Iterator[tuple[float, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield C, weights (F, D, K'), intercepts (F, K') and decision values (F, N, K')."""
    data = _Features.of(X, True)
    classes = [1] if y.max() == 1 else range(y.max() + 1)
    stride = max(1, _CHUNK // max(X.shape))
    batches = []  # (class, problems, batch)
    for k in classes:
        mine = (y == k).astype(np.intp)
        both = np.flatnonzero((weights @ mine > 0) & (weights @ (1 - mine) > 0))
        for start in range(0, len(both), stride):
            part = both[start : start + stride]
            batches.append((k, part, _Hinge(data, mine, weights[part].astype(np.float32), True)))
    column = {k: i for i, k in enumerate(classes)}
    shape = (len(weights), len(column))
    for C in sorted(Cs):
        coef = np.zeros((shape[0], X.shape[1], shape[1]), np.float32)
        intercept = np.full(shape, -1, np.float32)  # a class that a problem lacks is never near
        decisions = np.full((shape[0], len(X), shape[1]), -1, np.float32)
        for k, part, batch in batches:
            point = batch.solve(C, tol, max_iter)
            coef[part, :, column[k]] = point.coef[..., 0]
            intercept[part, column[k]] = point.intercept[:, 0]
            decisions[part, :, column[k]] = point.logits[..., 0]
        yield C, coef, intercept, decisions


class _Hinge(_Batch):
    """The problems of one class against the rest, under the squared hinge loss."""

    def _residual(self, logits: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Second derivatives, and weighted first derivatives, of max(0, 1 - s d)^2."""
        sign = (2 * self.y - 1).astype(np.float32)
        short = np.maximum(1 - sign * logits, 0)
        residual = -2 * sign * short
        residual *= self.weight[active][:, None]
        return 2 * (short > 0).astype(np.float32), residual

    def _curvature(self, probability: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Mean second derivative (A, 1), never quite zero."""
        return np.maximum(np.einsum("fkn,fn->fk", probability, self.weight[active]), 1e-2)

    def _line_search(
        self,
        gradient: np.ndarray,
        ridge: np.ndarray,
        step: np.ndarray,
        change: np.ndarray,
        active: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As for logistic regression, with the second derivative of this loss."""
        length = np.ones(len(active), np.float32)
        low, high = np.zeros_like(length), np.full_like(length, np.inf)
        enough = _SLOPE * np.abs(_dot(gradient, step))
        pull = _dot(_penalty(ridge, self.theta[active]), step)
        stiffness = _dot(_penalty(ridge, step), step)
        for _ in range(_TRIALS):
            bend, residual = self._residual(
                self.logits[active] + length[:, None, None] * change, active
            )
            slope = _dot(residual, change) + pull + length * stiffness
            far = np.abs(slope) > enough
            if not far.any():
                break
            low = np.where(far & (slope < 0), length, low)
            high = np.where(far & (slope > 0), length, high)
            curve = np.einsum("fkn,fkn,fkn,fn->f", bend, change, change, self.weight[active])
            better = _newton_or_bisect(length, slope, curve + stiffness, low, high)
            length = np.where(far, better, length)
        bend, residual = self._residual(
            self.logits[active] + length[:, None, None] * change, active
        )
        return length, bend, residual
