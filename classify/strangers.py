"""How strange an image is: how far it lies from those that resemble it most.

The distance is one minus the cosine of two embeddings, to the `NEAREST` nearest image [1]_. It says
something beside the distances of other images only: an image is a stranger if hardly any of those
that were looked at before lies as far [2]_.

Rejected, as they told photos of other things from cats and dogs less well: centred or scaled
embeddings (a stranger leads into directions in which these vary little), principal components (it
leads out of them), and distances relative to those of the neighbours (hubs are far from none).

References
----------
.. [1] Y. Sun, Y. Ming, X. Zhu, Y. Li (2022), Out-of-distribution detection with deep nearest
   neighbors, ICML.
.. [2] S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia (2023), Testing for outliers with conformal
   p-values, Annals of Statistics 51.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from .cosine import unit_rows

NEAREST = 3  # few: a rare class has few images, and strangers may come in twos
LEVEL = 0.01  # share of ordinary images that may be taken for strangers
_MOST = 2000  # images that others are compared with
_LEAST = 50
_BYTES = 4_000_000  # that their embeddings may have as float16
_BLOCK = 2048  # images compared at a time


def choose_references(y: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Return rows that stand for all, in increasing order: of each class as many as it has.

    Where those are too many, classes with few images keep them all, and the others have equal
    numbers, drawn at random.

    Parameters
    ----------
    y : ndarray of shape (N,), int
    most : int
    seed : int, default=0

    Examples
    --------
    >>> y = np.array([0, 1, 1, 1, 1, 2, 2, 2, 2])
    >>> np.bincount(y[choose_references(y, 5)]).tolist()
    [1, 2, 2]
    """
    shuffled = np.random.default_rng(seed).permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    counts = np.bincount(y)
    place = np.arange(len(y)) - np.repeat(counts.cumsum() - counts, counts)  # within its class
    return np.sort(by_class[np.argsort(place, kind="stable")[:most]])


def neighbour_distances(
    X: np.ndarray,
    references: np.ndarray,
    groups: np.ndarray | None = None,
    reference_groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return how far each row is from its `NEAREST` nearest reference of another group.

    Parameters
    ----------
    X : ndarray of shape (N, D)
    references : ndarray of shape (R, D)
        Of unit length.
    groups, reference_groups : ndarray of shape (N,) and (R,), int, optional
        Images of one group are not compared: an image resembles itself.

    Returns
    -------
    ndarray of shape (N,), float32
        0 to 2; infinite where there are too few references of other groups.
    """
    k = min(NEAREST, len(references))
    others = np.ascontiguousarray(references.T, np.float32)
    found = np.empty(len(X), np.float32)
    for start in range(0, len(X), _BLOCK):
        rows = slice(start, start + _BLOCK)
        distance = 1 - unit_rows(X[rows]) @ others
        if groups is not None and reference_groups is not None:
            distance[groups[rows, None] == reference_groups] = np.inf
        for _ in range(k - 1):  # several times faster than to sort or part so few from so many
            distance[np.arange(len(distance)), distance.argmin(axis=1)] = np.inf
        found[rows] = distance.min(axis=1)
    return found


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What a head learned from, for telling what resembles none of it. R of those images.

    Attributes
    ----------
    references : ndarray of shape (R, D), float16
        Their embeddings, of unit length.
    distances : ndarray of shape (M,), float32
        How far the M images that the head was scored on are from these: see `neighbour_distances`.
    """

    references: np.ndarray
    distances: np.ndarray

    @property
    def level(self) -> float:
        """Share of images like those scored that are taken for strangers, at most.

        With fewer than 99 images an image must be farther than all of them.
        """
        return max(LEVEL, 1 / (len(self.distances) + 1))

    def p_values(self, X: np.ndarray) -> np.ndarray:
        """Return the share of scored images that are at least as far, that one among them; (N,)."""
        ordered, references = self._ready
        far = neighbour_distances(X, references)
        nearer = np.searchsorted(ordered, far, side="left")
        return (1 + len(ordered) - nearer) / (1 + len(ordered))

    @functools.cached_property
    def _ready(self) -> tuple[np.ndarray, np.ndarray]:
        """The distances in order, and the references as they are multiplied."""
        return np.sort(self.distances), np.asfortranarray(self.references, np.float32)

    @property
    def are_strangers(self) -> np.ndarray:
        """Which of the scored images would be taken for strangers, were they new; (M,) bool."""
        M = len(self.distances)
        farther = max(int(self.level * (M + 1)), 1) - 1  # as many may be; 1 / 49 * 49 is below 1
        limit = np.sort(self.distances)[::-1][farther] if M else np.inf
        return self.distances > limit


def find_neighbours(
    X: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    learned: np.ndarray,
    scored: np.ndarray,
    seed: int = 0,
) -> Neighbours:
    """Return what tells the strangers among new images.

    Parameters
    ----------
    X : ndarray of shape (N, D)
        As new images are seen.
    y, groups : ndarray of shape (N,), int
    learned, scored : ndarray of int
        Rows that the head learned from, and those that it was scored on.
    seed : int, default=0

    Examples
    --------
    >>> X = np.random.default_rng(0).normal([4, 1, 1], 0.3, (400, 3))
    >>> rows = np.arange(400)
    >>> found = find_neighbours(X, rows % 2, rows, rows[:200], rows[200:])
    >>> found.p_values(np.array([[4, 1.2, 1], [-4, 1, 1]])).round(2).tolist()
    [0.85, 0.0]
    """
    most = max(_LEAST, min(_MOST, _BYTES // (2 * X.shape[1])))
    chosen = learned[choose_references(y[learned], most, seed)]
    references = unit_rows(X[chosen]).astype(np.float16)
    distances = [
        neighbour_distances(X[rows], references, groups[rows], groups[chosen])
        for rows in (scored[i : i + _BLOCK] for i in range(0, len(scored), _BLOCK))
    ]
    return Neighbours(references, np.concatenate([np.empty(0, np.float32), *distances]))
