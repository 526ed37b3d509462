"""Which of many vectors point into nearly the same direction, without comparing all in full.

All pairs are compared by an upper bound of their cosine that takes a tenth of the work [1]_, and
only those that may be close in full. So nothing is missed, and no index is needed.

Let Q be some orthonormal directions, and r(x) how much of x lies outside of them. Then
x·y <= Qx·Qy + r(x) r(y), by Cauchy and Schwarz: the product of (Qx, r(x)) and (Qy, r(y)). The more
of the vectors lies along Q, the closer is the bound; hence the principal directions, which a few
steps of subspace iteration find well enough [2]_.

References
----------
.. [1] R. Weber, H.-J. Schek, S. Blott (1998), A quantitative analysis and performance study for
   similarity-search methods in high-dimensional spaces, VLDB: filter by a bound, then refine.
.. [2] N. Halko, P.-G. Martinsson, J. A. Tropp (2011), Finding structure with randomness, SIAM
   Review 53.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_SHARE = 8  # one direction for as many features
_FEW = 3000  # rows are compared in full before directions are found
_SAMPLE = 4000  # rows that tell the directions
_STEPS = 3  # of subspace iteration
_CENTRES = 64  # what is near the same of these is compared at once
_BLOCK = 512  # rows of a block of products
_ROUNDING = 1e-4  # of products of float32
_DENSE = 0.03  # of pairs; so many of them are faster to multiply in full than one by one
_PAIRS = 4096  # compared in full at once


def unit_rows(X: np.ndarray) -> np.ndarray:
    """Return the rows of X (..., D) at length 1, float32; a row of zeros stays one."""
    X = np.asarray(X, np.float32)
    length = np.sqrt(np.einsum("...d,...d->...", X, X, dtype=np.float64)).astype(np.float32)
    return X / np.where(length > 0, length, 1)[..., None]


def close_pairs(Z: np.ndarray, least: float, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of rows whose cosine is above `least`.

    Parameters
    ----------
    Z : ndarray of shape (N, D), float32
        Rows of length 1, or 0.
    least : float
    most : int
        Of each 512 rows in succession, with all that come later, the closest are taken if there are
        more than so many a row.

    Returns
    -------
    first, second : ndarray of shape (P,), int64
        The first of a pair is the smaller row; sorted.

    Examples
    --------
    >>> Z = unit_rows(np.array([[1, 0], [0, 1], [1, 0.1]]))
    >>> [rows.tolist() for rows in close_pairs(Z, 0.9, most=16)]
    [[0], [2]]
    """
    n = len(Z)
    key, cosine = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for pairs, found in _blocks(Z, least):
        key, cosine = np.concatenate([key, pairs]), np.concatenate([cosine, found])
        if len(key) > 4 * most * n:
            key, cosine = _closest(key, cosine, n, most)
    first, second = np.divmod(np.sort(_closest(key, cosine, n, most)[0]), max(n, 1))
    return first, second


def _closest(
    key: np.ndarray, cosine: np.ndarray, n: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return those pairs that are the closest of a block, where there are too many."""
    block = key // (n * _BLOCK)
    order = np.lexsort((-cosine, block))
    start = np.searchsorted(block[order], np.arange(-(-n // _BLOCK)))
    rank = np.arange(len(order)) - start[block[order]]
    rows = np.minimum(n - block[order] * _BLOCK, _BLOCK)
    kept = order[rank < most * rows]
    return key[kept], cosine[kept]


def _blocks(Z: np.ndarray, least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs as first * N + second, and their cosines; each pair once."""
    n = len(Z)
    order, bound = _bounds(Z)
    for k in range(0, n, _BLOCK):
        here = order[k : k + _BLOCK]
        may = bound[k : k + _BLOCK] @ bound[k:].T > least - _ROUNDING
        later = np.flatnonzero(may.any(axis=0))
        may = may[:, later]
        a, b = np.divmod(np.flatnonzero(may), max(len(later), 1))
        once = later[b] > a
        a, b = a[once], b[once]
        there = order[k + later]
        if len(a) > _DENSE * may.size:
            cosine = (Z[here] @ Z[there].T)[a, b]
        else:
            cosine = np.empty(len(a), np.float32)
            for i in range(0, len(a), _PAIRS):
                part = slice(i, i + _PAIRS)
                cosine[part] = np.einsum("pd,pd->p", Z[here[a[part]]], Z[there[b[part]]])
        close = cosine > least
        one, other = here[a[close]], there[b[close]]
        yield np.minimum(one, other) * n + np.maximum(one, other), cosine[close]


def _bounds(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an order that puts like rows together, and vectors whose products bound cosines."""
    n, D = Z.shape
    if n < _FEW:
        return np.arange(n), Z
    rng = np.random.default_rng(0)
    sample = Z[np.sort(rng.choice(n, min(n, _SAMPLE), replace=False))]
    Q = rng.standard_normal((D, D // _SHARE + 1), dtype=np.float32)
    for _ in range(_STEPS):
        Q = np.linalg.qr(sample.T @ (sample @ Q))[0]
    along = Z @ Q
    rest = np.einsum("nd,nd->n", Z, Z) - np.einsum("nd,nd->n", along, along)
    bound = np.column_stack([along, np.sqrt(np.maximum(rest, 0))])
    centres = along[rng.choice(n, min(n, _CENTRES), replace=False)]
    order = np.argsort((along @ centres.T).argmax(axis=1), kind="stable")
    return order, bound[order]
