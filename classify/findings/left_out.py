"""What embeddings say of each image when neither it nor its group was learned from."""

from __future__ import annotations

import numpy as np

from .. import large
from ..heads.closed_form import group_blocks, residuals_left_out, spectrum
from ..heads.linear import LinearPredictor, row_blocks
from ..heads.scaling import fit_scaling

# Of the penalty, against the mean eigenvalue of the scaled features.
_PENALTIES = np.logspace(-2, 3, 11)
_LEAST = 50  # rows of a class that are learned from, where it has as many


def values_left_out(X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return least-squares values for each class, of each row as if its group had been left out.

    The target of a class is 1 for its own rows and 0 for others. The penalty is the one with the
    least squared error of these very values. All comes from a single eigendecomposition, and as
    squares bound what a single row can do, wrong labels disturb it little: of photos with 10% of
    their labels wrong, it finds what a logistic regression with its usual penalty does not.

    Of features above `tlx.classify.large.MEMORY` about 20,000 rows are learned from, and others,
    none of which is of their groups, are predicted.

    Parameters
    ----------
    X : ndarray of shape (N, D), float32
    y : ndarray of shape (N,), int
        0 to C - 1.
    groups : ndarray of shape (N,), int

    Returns
    -------
    ndarray of shape (N, C), float32
    """
    if not large.is_large(X):
        return _fit(X, y, groups)[0]
    learned = learned_rows(y, groups)
    classes, own = np.unique(y, return_inverse=True)  # each has rows that are learned from
    values = np.zeros((len(y), y.max() + 1), np.float32)
    of_learned, head = _fit(np.asarray(X[learned]), own[learned], groups[learned])
    for rows in large.blocks_of(*X.shape):
        values[rows, classes] = head.logits(X[rows])
    values[np.ix_(learned, classes)] = of_learned
    return values


def learned_rows(y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return about 20,000 rows, whole groups at random: of each class 50 at least, or all it has.

    Parameters
    ----------
    y, groups : ndarray of shape (N,), int

    Returns
    -------
    ndarray of int, in increasing order
    """
    drawn = np.zeros(len(y), bool)
    drawn[large.draw_rows(np.arange(len(y)), groups, large.SAMPLE)] = True
    rng = np.random.default_rng(0)
    size = np.bincount(y)
    for c in np.flatnonzero(np.bincount(y[drawn], minlength=len(size)) < np.minimum(size, _LEAST)):
        missing = _LEAST - np.count_nonzero(drawn & (y == c))
        others = rng.permutation(np.flatnonzero((y == c) & ~drawn))
        drawn |= np.isin(groups, groups[others[: max(0, missing)]])
    return np.flatnonzero(drawn)


def _fit(X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, LinearPredictor]:
    """Return the values of rows as if their groups were left out, and the head of all of them."""
    from threadpoolctl import threadpool_limits

    mean, scale = fit_scaling(X)
    Z = np.empty(X.shape, np.float32)
    for rows in row_blocks(X):
        Z[rows] = (X[rows] - mean) / scale
    member = np.eye(y.max() + 1, dtype=np.float32)[y]
    target = member - member.mean(axis=0)
    with threadpool_limits(1, "blas"):  # see `tlx.classify.heads.closed_form`
        values, vectors = spectrum(Z)
    dual, basis = len(X) < X.shape[1], vectors.astype(np.float32)
    axes = Z.T @ basis if dual else basis  # of features, on which a head's weights lie
    basis = basis if dual else Z @ basis
    del Z
    squares, projected = np.square(basis), basis.T @ target
    constant = np.full(len(y), len(y) ** -0.5, np.float32)
    blocks = group_blocks(groups)
    best, least, chosen = target, np.inf, 0.0
    for alpha in _PENALTIES * max(float(values.mean()), 1e-6):
        gain = ((values if dual else 1) / (values + alpha)).astype(np.float32)
        residual = target - basis @ (gain[:, None] * projected)
        residual = residuals_left_out(residual, blocks, basis, squares, gain, constant)
        error = float(np.square(residual).sum(dtype=float))
        if error < least:
            best, least, chosen = residual, error, alpha
    weights = axes @ (projected / (values + chosen)[:, None]) / scale[:, None]
    bias = member.mean(axis=0, dtype=np.float64) - mean @ weights
    return member - best, LinearPredictor(weights.astype(np.float32), bias.astype(np.float32))
