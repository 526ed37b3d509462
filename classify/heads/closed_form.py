"""Heads with a solution in closed form: ridge, linear discriminant analysis, the nearest mean.

All see features z, centred and scaled by a problem's own rows (see `tlx.classify.heads.scaling`).
Ridge
and discriminant analysis invert S + alpha I for a matrix S of each problem and every alpha of the
grid: one eigendecomposition S = V L V^T a problem gives them all, as (S + alpha I)^-1 = V (L +
alpha)^-1 V^T. With fewer rows than features the same is done with the Gram matrix of the rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .inner import fit_scale
from .linear import LinearPredictor, both_logits, row_blocks
from .scaling import fit_scaling

_BLOCK_GROUP = 1000  # most rows of a group that ridge leaves out at once


def closed_form_path(
    model: str,
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    grid: Sequence[float],
    groups: np.ndarray,
) -> Iterator[tuple[float, list[LinearPredictor]]]:
    """Fit ``ridge``, ``lda`` or ``centroid`` along its grid, for many weightings of the rows.

    Parameters
    ----------
    model : {"ridge", "lda", "centroid"}
    X : ndarray of shape (N, D)
    y : ndarray of shape (N,), int
    weights : ndarray of shape (F, N)
    grid : sequence of float
        Penalties, shrinkages or temperatures.
    groups : ndarray of shape (N,), int
        Ridge scales its probabilities on groups left out.

    Yields
    ------
    value : float
        Of the grid, from the largest.
    heads : list of F LinearPredictor
    """
    from threadpoolctl import threadpool_limits

    fit = {"ridge": _ridge, "lda": _lda, "centroid": _centroid}[model]
    values = sorted(map(float, grid), reverse=True)
    C = int(y.max()) + 1

    def solve(weight: np.ndarray) -> list[LinearPredictor]:
        rows = np.flatnonzero(weight > 0)
        part = _Rows.of(X[rows], y[rows], weight[rows].astype(np.float64), groups[rows], C)
        return [part.raw(coef, bias) for coef, bias in fit(part, values)]

    # Eigendecompositions do not profit from the threads of BLAS (on a busy machine they take ten
    # times as long with them): one thread a problem instead. Each holds a copy of its rows, so
    # there are two at a time, and no more than there are processors.
    workers = min(2, os.cpu_count() or 1, len(weights))
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        heads = list(pool.map(solve, weights))
    for i, value in enumerate(values):
        yield value, [found[i] for found in heads]


@dataclass(frozen=True)
class _Rows:
    """The n rows of a problem, scaled in place."""

    Z: np.ndarray  # (n, D) float32
    y: np.ndarray
    weight: np.ndarray  # (n,) float64
    groups: np.ndarray
    C: int
    mean: np.ndarray  # (D,) float64
    inverse: np.ndarray  # (D,) float64, of the scale; 0 if the feature is constant

    @classmethod
    def of(
        cls, X: np.ndarray, y: np.ndarray, weight: np.ndarray, groups: np.ndarray, C: int
    ) -> _Rows:
        Z = X.astype(np.float32, copy=False)  # a copy already: rows were picked by their numbers
        mean, scale = fit_scaling(Z)
        inverse = 1 / scale
        for rows in row_blocks(Z):
            Z[rows] = (Z[rows] - mean) * inverse
        return cls(Z, y, weight, groups, C, mean, inverse)

    def raw(self, coef: np.ndarray, bias: np.ndarray) -> LinearPredictor:
        """Fold the scaling into weights (D, C) and biases (C,) of scaled features."""
        folded = coef * self.inverse[:, None]
        offset = bias - self.mean @ folded
        head = LinearPredictor(folded.astype(np.float32), offset.astype(np.float32))
        return head.without(np.bincount(self.y, minlength=self.C) == 0)

    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the share (C,) of each class in the weights, and the mean (C, D) of its z."""
        member = np.eye(self.C)[self.y] * self.weight[:, None]
        total = member.sum(axis=0)
        mean = (member / np.where(total > 0, total, 1)).T.astype(np.float32) @ self.Z
        return total / total.sum(), mean.astype(np.float64)


def _ridge(part: _Rows, alphas: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights and biases of one-against-rest least squares on targets of -1 and 1.

    It minimises sum_i w_i (t_i - f_i)^2 + alpha |W|^2, the bias free, as
    `sklearn.linear_model.RidgeClassifier`. Probabilities are softmax(a f), for two classes the
    sigmoid of a f, with the factor a of `tlx.classify.heads.inner.fit_scale` on the values that
    each row
    would get without its group. With residuals r = t - f and the hat matrix H, f = H t, these are
    t_S - (I - H_SS)^-1 r_S for the rows S of a group, so they cost no further fit. (The scaling of
    the features is not redone without them.) Groups of more than 1,000 rows are not left out.
    """
    columns = [1] if part.C == 2 else list(range(part.C))
    target = np.where(part.y[:, None] == columns, 1.0, -1.0)  # (n, K')
    total = part.weight.sum()
    centre, level = part.weight @ part.Z / total, part.weight @ target / total
    root = np.sqrt(part.weight)
    A = part.Z
    A -= centre.astype(np.float32)
    A *= root[:, None].astype(np.float32)
    T = root[:, None] * (target - level)
    values, vectors = _spectrum(A)
    dual = len(A) < A.shape[1]
    basis = vectors if dual else A @ vectors.astype(np.float32)  # H = basis gain basis^T
    projected = basis.T @ T  # (r, K')
    squares = np.square(basis)
    for alpha in alphas:
        gain = (values if dual else 1) / (values + alpha)
        solution = vectors @ (projected / (values + alpha)[:, None])
        W = A.T @ solution.astype(np.float32) if dual else solution
        fitted = basis @ (gain[:, None] * projected)
        held, rows = _left_out(part, T, fitted, basis, squares, gain, root)
        scale = fit_scale(both_logits(held + level), part.y[rows], part.weight[rows])
        yield both_logits(scale * W), both_logits(scale * (level - centre @ W)[None])[0]


def _left_out(
    part: _Rows,
    T: np.ndarray,
    fitted: np.ndarray,
    basis: np.ndarray,
    squares: np.ndarray,
    gain: np.ndarray,
    root: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return decision values (m, K'), less their level, of rows had their group been left out."""
    constant = root / np.sqrt(part.weight.sum())  # the free bias adds its outer product to H
    residual = T - fitted
    leverage = squares @ gain + constant**2
    out = residual / np.maximum(1 - leverage, 1e-6)[:, None]
    keep = np.ones(len(T), bool)
    _, group, size = np.unique(part.groups, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    starts = np.concatenate([[0], np.cumsum(size)])
    for g in np.flatnonzero(size > 1):
        S = order[starts[g] : starts[g + 1]]
        if len(S) > _BLOCK_GROUP:
            keep[S] = False
            continue
        H = (basis[S] * gain) @ basis[S].T + np.outer(constant[S], constant[S])
        out[S] = np.linalg.solve((1 + 1e-6) * np.eye(len(S)) - H, residual[S])
    rows = np.flatnonzero(keep)
    return ((T - out)[rows] / root[rows, None]), rows


def _lda(part: _Rows, shrinkages: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights and biases of discriminant analysis, its covariance shrunk towards m I.

    With class means mu_k, shares p_k and the covariance S within classes, m = trace(S) / D, the
    logits are those of `sklearn.discriminant_analysis.LinearDiscriminantAnalysis`:
    W_k = ((1 - s) S + s m I)^-1 mu_k and b_k = log p_k - mu_k W_k / 2.
    """
    share, mean = part.classes()
    A = part.Z
    A -= mean[part.y].astype(np.float32)
    A *= np.sqrt(part.weight / part.weight.sum())[:, None].astype(np.float32)
    level = float(np.einsum("nd,nd->", A, A, dtype=np.float64)) / A.shape[1]
    if level == 0:  # one image a class: nothing is known of the spread, so it counts as even
        level = 1.0
    values, vectors = _spectrum(A)
    dual = len(A) < A.shape[1]
    projected = vectors.T @ (A @ mean.T.astype(np.float32)) if dual else vectors.T @ mean.T
    prior = np.log(np.where(share > 0, share, 1))
    for s in shrinkages:
        low, ridge = (1 - s), s * level
        if low == 0:
            W = mean.T / ridge
        elif (
            dual
        ):  # Woodbury: (low A^T A + ridge I)^-1 = (I - A^T (A A^T + ridge / low I)^-1 A) / ridge
            solution = vectors @ (projected / (values + ridge / low)[:, None])
            W = (mean.T - A.T @ solution.astype(np.float32)) / ridge
        else:
            W = vectors @ (projected / (low * values + ridge)[:, None])
        yield W, prior - np.einsum("kd,dk->k", mean, W) / 2


def _centroid(
    part: _Rows, temperatures: Sequence[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights and biases of logits -|z - mu_k|^2 / (2 D temperature), but for |z|^2."""
    _, mean = part.classes()
    distance = -np.einsum("kd,kd->k", mean, mean) / 2
    for temperature in temperatures:
        scale = 1 / (temperature * mean.shape[1])
        yield scale * mean.T, scale * distance


def _spectrum(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (r,) and eigenvectors (r, r) of the smaller of A A^T and A^T A."""
    from scipy.linalg import eigh

    product = A @ A.T if len(A) < A.shape[1] else A.T @ A
    # In single precision SciPy takes half the time of NumPy, and the product's rounding is all that
    # shows: solutions are within 1e-4 of exact ones, in double precision as well.
    values, vectors = eigh(product, driver="evd", overwrite_a=True, check_finite=False)
    return np.maximum(values, 0).astype(np.float64), vectors.astype(np.float64)
