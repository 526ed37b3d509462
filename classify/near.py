"""Which images are near-duplicates: re-encoded, resized, cropped, mirrored, brightened copies.

What resembles nothing else of a data set as much is compared: images whose embeddings, or whose
small pictures, are unusually close. Two of them are near-duplicates if the edges in their small
pictures agree after one is mirrored or slightly cropped, more than those of distinct images of this
data set ever do. How far distinct ones agree is measured, not supposed: handwritten ones are all
alike, photos are not.

N images, D features, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import cosine
from .cosine import close_pairs, unit_rows

METHOD = 2  # raise it when other pairs may come out: those kept of before are looked for anew
_CUTS = ((0, 1), (0.03, 0.97), (0.07, 0.93), (0, 0.95), (0.05, 1))  # of a side, from and to
_RANK = 20  # neighbours beyond this are no copies, and yet the most alike of the distinct ones
_SAMPLE = 400  # images that tell how alike distinct ones are
_SPREADS = 5.0  # above distinct ones, in standard deviations of Fisher's z
_LEAST = 0.75  # correlation of edges below which no two pictures are called the same
_SPREADS_ALONE, _LEAST_ALONE = 8.0, 0.9  # of embeddings, where no pictures confirm
_CANDIDATE_SPREADS = 2.0  # of embeddings, or of pictures: what is looked at closely
_LIKELY_SPREADS = 1.0  # without a crop: what agrees less is not looked at under all crops
_MOST = 16  # candidates an image, on average
_MOST_OF_MANY = 4  # so many where there are more than `tlx.classify.cosine.MANY` images
_BLOCK = 512  # rows of a block of products
_PAIRS = 1024  # pictures compared at once
_AT_ONCE = 2**16  # pairs whose pictures are held at once


@dataclass(frozen=True, eq=False)
class NearPairs:
    """Pairs of near-duplicates, by row; the first of a pair is the smaller row.

    Attributes
    ----------
    first, second : ndarray of shape (P,), int64
    similarity : ndarray of shape (P,), float32
        Correlation of the edges of the two pictures, 0 to 1; of two images without pictures the
        cosine of their centred embeddings.
    by_picture : bool
        Whether all images had a picture to be compared by.
    exhaustive : bool
        Whether every image was compared with every other; if not, some pairs may be missing.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray
    by_picture: bool = True
    exhaustive: bool = True

    def __len__(self) -> int:
        return len(self.first)


def find_near_pairs(
    X: np.ndarray, thumbs: np.ndarray, measured: np.ndarray, seed: int = 0
) -> NearPairs:
    """Find the pairs of near-duplicates among images, in blocks: no (N, N) is ever held.

    Parameters
    ----------
    X : ndarray of shape (N, D), float32
        Embeddings. Rows that are equal are pairs like any others.
    thumbs : ndarray of shape (N, S, S), uint8
        The small grey pictures.
    measured : ndarray of shape (N,), bool
        Which images have one. Others are compared by their embeddings alone, more strictly.
    seed : int, default=0
        Of the sample that tells how alike distinct images are.

    Returns
    -------
    NearPairs

    Notes
    -----
    Of more than 50,000 images those alone are looked at that lie in the same cells, by their
    embeddings or along the main directions of their pictures: see `tlx.classify.cosine`.

    Correlations r are taken as Fisher's z = atanh(r), whose spread does not depend on r. Distinct
    images: each of a sample with its 20th neighbour, by embeddings and by pictures. Median and
    median absolute deviation of their z say from where on a pair is looked at, and from where on it
    is a near-duplicate: five standard deviations above the latter, and r at least 0.75.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(50, 8)).astype(np.float32)
    >>> thumbs = rng.integers(0, 256, (50, 16, 16)).astype(np.uint8)
    >>> X[7], thumbs[7] = X[3], thumbs[3, :, ::-1]
    >>> pairs = find_near_pairs(X, thumbs, np.ones(50, bool))
    >>> list(zip(pairs.first.tolist(), pairs.second.tolist()))
    [(3, 7)]
    """
    n = len(X)
    many = n > cosine.MANY
    most = _MOST_OF_MANY if many else _MOST
    if n < 3:
        nothing = np.zeros(0, np.int64)
        return NearPairs(nothing, nothing, np.zeros(0, np.float32), bool(measured.all()), not many)
    Z = unit_rows(X - X.mean(axis=0, dtype=float).astype(np.float32))
    sample, other = _distinct(Z, np.random.default_rng(seed))
    alike = _Null.of(np.einsum("nd,nd->n", Z[sample], Z[other]))
    found = [close_pairs(Z, alike.above(_CANDIDATE_SPREADS), most)]
    both = measured[sample] & measured[other]
    edges = (
        _Edges(thumbs, measured) if many else _edges(thumbs.astype(np.float32)) * measured[:, None]
    )
    plain = _Null.of(np.einsum("nd,nd->n", edges[sample[both]], edges[other[both]]))
    pictures = _Null()
    if both.any():
        seen = np.flatnonzero(measured)
        along = _along(edges, n) if isinstance(edges, _Edges) else edges
        own, its = _distinct(along[seen], np.random.default_rng(seed))
        own, its = seen[own], seen[its]
        pictures = _Null.of(compare_pictures(thumbs, own, its))
        agree = _Null.of(np.einsum("nd,nd->n", along[own], along[its]))
        least = max(agree.above(_CANDIDATE_SPREADS), 0.5)
        found.append(close_pairs(along, least, most))
    keys = np.concatenate([first * n + second for first, second in found])
    first, second = np.divmod(np.unique(keys), n)
    overlap = [
        _overlap(edges, thumbs, first[k : k + _AT_ONCE], second[k : k + _AT_ONCE])
        for k in range(0, len(first), _AT_ONCE)
    ]
    likely = np.concatenate([np.zeros(0, np.float32), *overlap]) > plain.above(_LIKELY_SPREADS)
    likely |= ~(measured[first] & measured[second])
    first, second = first[likely], second[likely]
    return _confirm(Z, thumbs, measured, first, second, alike, pictures)


def _confirm(
    Z: np.ndarray,
    thumbs: np.ndarray,
    measured: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    alike: _Null,
    pictures: _Null,
) -> NearPairs:
    """Return the candidates that are near-duplicates, the most similar first."""
    seen = measured[first] & measured[second]
    similarity = np.empty(len(first), np.float32)
    similarity[seen] = compare_pictures(thumbs, first[seen], second[seen])
    for rows in np.array_split(np.flatnonzero(~seen), 1 + len(first) // _AT_ONCE):
        similarity[rows] = np.einsum("nd,nd->n", Z[first[rows]], Z[second[rows]])
    least = np.where(
        seen,
        max(pictures.above(_SPREADS), _LEAST),
        max(alike.above(_SPREADS_ALONE), _LEAST_ALONE),
    )
    order = np.argsort(-similarity, kind="stable")
    order = order[(similarity >= least)[order]]
    exhaustive = len(Z) <= cosine.MANY
    return NearPairs(
        first[order], second[order], similarity[order], bool(measured.all()), exhaustive
    )


class _Edges:
    """The edges of pictures as `_edges` gives them, made where they are asked for."""

    def __init__(self, thumbs: np.ndarray, measured: np.ndarray) -> None:
        self._thumbs, self._measured = thumbs, measured

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return _edges(self._thumbs[rows].astype(np.float32)) * self._measured[rows, None]


def _along(edges: _Edges, n: int) -> np.ndarray:
    """Return edges along their main directions at length 1, (N, 128): a third of the memory."""
    sample = edges[np.sort(np.random.default_rng(0).choice(n, min(n, 4000), replace=False))]
    Q = cosine.directions(sample)
    blocks = (np.arange(k, min(k + _AT_ONCE // 4, n)) for k in range(0, n, _AT_ONCE // 4))
    return np.concatenate([unit_rows(edges[rows] @ Q) for rows in blocks])


def _overlap(
    edges: np.ndarray | _Edges, thumbs: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Return how far the edges of pairs agree, mirrored or not, without any crop: (P,)."""
    rows, place = np.unique(first, return_inverse=True)
    mirrored = _edges(thumbs[rows, :, ::-1].astype(np.float32))
    found = np.empty(len(first), np.float32)
    for k in range(0, len(first), _PAIRS):
        part = slice(k, k + _PAIRS)
        other = edges[second[part]]
        as_it_is = np.einsum("pe,pe->p", edges[first[part]], other)
        found[part] = np.maximum(as_it_is, np.einsum("pe,pe->p", mirrored[place[part]], other))
    return found


def compare_pictures(thumbs: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how far the edges of pairs of small pictures agree, shape (P,) float32, -1 to 1.

    It is the highest correlation of their gradients with one of the two cropped by up to 7% a side,
    and mirrored or not. Gradients do not see brightness, correlations no contrast; the outermost
    cells are left out, which a border or a turned picture fills with something else.

    Parameters
    ----------
    thumbs : ndarray of shape (N, S, S), uint8
    first, second : ndarray of shape (P,), int
    """
    found = np.full(len(first), -1, np.float32)
    for cropped, whole in ((first, second), (second, first)):
        order = np.argsort(cropped, kind="stable")  # each picture is cropped once
        for k in range(0, len(order), _PAIRS):
            part = order[k : k + _PAIRS]
            rows, place = np.unique(cropped[part], return_inverse=True)
            other = thumbs[whole[part]].astype(np.float32)
            both = np.stack([_edges(other), _edges(other[:, :, ::-1])], axis=2)
            agree = (_crops(thumbs[rows].astype(np.float32))[place] @ both).max(axis=(1, 2))
            found[part] = np.maximum(found[part], agree)
    return found


def _crops(pictures: np.ndarray) -> np.ndarray:
    """Return the edges (N, 25, E) of pictures (N, S, S) under all crops of both sides."""
    side = pictures.shape[-1]
    across = np.stack([_resampling(side, *cut) for cut in _CUTS])
    rows = pictures[:, None] @ across.transpose(0, 2, 1)
    both = across[None, :, None] @ rows[:, None]
    return _edges(both.reshape(len(pictures), -1, side, side))


def _resampling(side: int, start: float, end: float) -> np.ndarray:
    """Return the matrix (S, S) that stretches a part of a row of S cells over all, linearly."""
    centre = (np.arange(side) + 0.5) / side
    place = np.clip((start + (end - start) * centre) * side - 0.5, 0, side - 1)
    left = np.minimum(place.astype(int), side - 2)
    matrix = np.zeros((side, side), np.float32)
    matrix[np.arange(side), left] = 1 - (place - left)
    matrix[np.arange(side), left + 1] = place - left
    return matrix


def _edges(pictures: np.ndarray) -> np.ndarray:
    """Return the gradients of all but the outermost cells as unit vectors (..., E)."""
    across = np.diff(pictures, axis=-1)[..., 1:-2, 1:-1]
    down = np.diff(pictures, axis=-2)[..., 1:-1, 1:-2]
    shape = (*pictures.shape[:-2], across.shape[-2] * across.shape[-1])
    return unit_rows(np.concatenate([across.reshape(shape), down.reshape(shape)], axis=-1))


@dataclass(frozen=True)
class _Null:
    """How alike distinct images are, as Fisher's z: its middle and its spread."""

    middle: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, r: np.ndarray) -> _Null:
        if not len(r):
            return cls()
        z = np.arctanh(np.clip(r, -0.9999, 0.9999))
        middle = float(np.median(z))
        return cls(middle, 1.4826 * float(np.median(np.abs(z - middle))))

    def above(self, spreads: float) -> float:
        """Return the correlation so many standard deviations above the middle."""
        return float(np.tanh(self.middle + spreads * self.spread))


def _distinct(Z: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a sample of the images, and of each the 20th neighbour: alike, but no copy."""
    n = len(Z)
    rank = min(_RANK, (n - 1) // 2)
    rows = np.sort(rng.choice(n, min(n, _SAMPLE), replace=False))
    found = []
    step = max(1, min(_BLOCK // 4, 2**25 // n))
    for k in range(0, len(rows), step):
        near = Z[rows[k : k + step]] @ Z.T
        found.append(np.argpartition(-near, rank, axis=1)[:, rank])  # the nearest is the row itself
    return rows, np.concatenate(found)
