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
.. [3] J. Sivic, A. Zisserman (2003), Video Google: a text retrieval approach to object matching in
   videos, ICCV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .large import blocks_of

_SHARE = 8  # one direction for as many features
_FEW = 3000  # rows are compared in full before directions are found
_SAMPLE = 4000  # rows that tell the directions
_STEPS = 3  # of subspace iteration
_CENTRES = 64  # what is near the same of these is compared at once
_BLOCK = 512  # rows of a block of products
_ROUNDING = 1e-4  # of products of float32
_DENSE = 0.03  # of pairs; so many of them are faster to multiply in full than one by one
_PAIRS = 4096  # compared in full at once
MANY = 50_000  # rows beyond which those alone are compared that lie in the same cells
_CELL = 500  # rows of a cell, on average
_PROBED = 3  # cells in which what is close to a row is looked for
_WINDOW = 4096  # rows of one cell that a block is compared with, on either side
_DIRECTIONS = 128  # that stand for the features of so many rows


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
        The first of a pair is the smaller row; sorted. Of more than 50,000 rows those alone of
        which one lies in a cell near the other.

    Examples
    --------
    >>> Z = unit_rows(np.array([[1, 0], [0, 1], [1, 0.1]]))
    >>> [rows.tolist() for rows in close_pairs(Z, 0.9, most=16)]
    [[0], [2]]
    """
    n = len(Z)
    key, cosine = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for pairs, found in _cells(Z, least) if n > MANY else _blocks(Z, least):
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


def _cells(Z: np.ndarray, least: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of which one row is at home in a cell near the other; each pair once."""
    n = len(Z)
    near = _nearest_cells(Z)
    home = near[:, 0].astype(np.int64)
    by_home = np.argsort(home, kind="stable")
    visits, cell = np.divmod(np.argsort(near[:, 1:].ravel(), kind="stable"), near.shape[1] - 1)
    visited = near[visits, cell + 1]
    K = int(near.max()) + 1  # cells that have a row
    homes, guests = (np.searchsorted(x, np.arange(K + 1)) for x in (home[by_home], visited))
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    for c in range(K):
        members, others = by_home[homes[c] : homes[c + 1]], visits[guests[c] : guests[c + 1]]
        for k in range(0, len(members), _BLOCK):
            here = members[k : k + _BLOCK]
            for there in (members[k : k + _BLOCK + _WINDOW], others[: 2 * _WINDOW]):
                cosine = Z[here] @ Z[there].T
                i, j = np.nonzero(cosine > least)
                a, b = here[i], there[j]
                # Two that are each other's guests are met twice: at the smaller one's home.
                mutual = (near[a, 1:] == home[b, None]).any(axis=1)
                once = np.where((home[a] == home[b]) | mutual, a < b, True)
                a, b = a[once], b[once]
                key = np.minimum(a, b) * n + np.maximum(a, b)
                waiting.append((key, cosine[i[once], j[once]]))
        if waiting and (sum(len(key) for key, _ in waiting) > n or c == K - 1):
            keys, cosines = zip(*waiting, strict=True)
            yield np.concatenate(keys), np.concatenate(cosines)
            waiting = []


def _nearest_cells(Z: np.ndarray) -> np.ndarray:
    """Return the nearest centres of each row, the nearest first, (N, 3) int32."""
    n = len(Z)
    centres = np.random.default_rng(0).choice(n, max(n // _CELL, _PROBED), replace=False)
    others = np.ascontiguousarray(Z[np.sort(centres)].T)
    near = np.empty((n, _PROBED), np.int32)
    for k in range(0, n, _BLOCK):
        likeness = Z[k : k + _BLOCK] @ others
        rows = np.arange(len(likeness))
        for rank in range(_PROBED):
            near[k : k + _BLOCK, rank] = best = likeness.argmax(axis=1)
            likeness[rows, best] = -np.inf
    return near


def main_directions(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rows of parts (N, D), centred, along 128 directions in which they vary most.

    Parts are read in blocks, and may be mapped from files. Of fewer features there are as many.
    """
    D, n = parts[0].shape[1], sum(map(len, parts))
    rng = np.random.default_rng(0)
    sample = np.concatenate(
        [
            X[np.sort(rng.choice(len(X), min(len(X), -(-_SAMPLE * len(X) // n)), replace=False))]
            for X in parts
        ]
    )
    mean = sample.mean(axis=0)
    Q = directions(unit_rows(sample - mean))
    out = np.empty((n, Q.shape[1]), np.float32)
    start = 0
    for X in parts:
        for rows in blocks_of(len(X), D):
            out[start + rows.start : start + rows.stop] = (X[rows] - mean) @ Q
        start += len(X)
    return out


def directions(sample: np.ndarray) -> np.ndarray:
    """Return orthonormal directions (D, 128) along which most of a sample (S, D) lies."""
    return _directions(sample, min(_DIRECTIONS, sample.shape[1]), np.random.default_rng(0))


def _directions(sample: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    Q = rng.standard_normal((sample.shape[1], k), dtype=np.float32)
    for _ in range(_STEPS):
        Q = np.linalg.qr(sample.T @ (sample @ Q))[0]
    return Q


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
    Q = _directions(sample, D // _SHARE + 1, rng)
    along = Z @ Q
    rest = np.einsum("nd,nd->n", Z, Z) - np.einsum("nd,nd->n", along, along)
    bound = np.column_stack([along, np.sqrt(np.maximum(rest, 0))])
    centres = along[rng.choice(n, min(n, _CENTRES), replace=False)]
    order = np.argsort((along @ centres.T).argmax(axis=1), kind="stable")
    return order, bound[order]
