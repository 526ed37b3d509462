"""What embeddings say of each image when neither it nor its group was learned from."""

from __future__ import annotations

import numpy as np

from ..heads.closed_form import group_blocks, residuals_left_out, spectrum
from ..heads.linear import row_blocks
from ..heads.scaling import fit_scaling

# Of the penalty, against the mean eigenvalue of the scaled features.
_PENALTIES = np.logspace(-2, 3, 11)


def values_left_out(X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return least-squares values for each class, of each row as if its group had been left out.

    The target of a class is 1 for its own rows and 0 for others. The penalty is the one with the
    least squared error of these very values. All comes from a single eigendecomposition, and as
    squares bound what a single row can do, wrong labels disturb it little: of photos with 10% of
    their labels wrong, it finds what a logistic regression with its usual penalty does not.

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
    basis = basis if dual else Z @ basis
    del Z
    squares, projected = np.square(basis), basis.T @ target
    constant = np.full(len(y), len(y) ** -0.5, np.float32)
    blocks = group_blocks(groups)
    best, least = target, np.inf
    for alpha in _PENALTIES * max(float(values.mean()), 1e-6):
        gain = ((values if dual else 1) / (values + alpha)).astype(np.float32)
        residual = target - basis @ (gain[:, None] * projected)
        residual = residuals_left_out(residual, blocks, basis, squares, gain, constant)
        error = float(np.square(residual).sum(dtype=float))
        if error < least:
            best, least = residual, error
    return member - best
