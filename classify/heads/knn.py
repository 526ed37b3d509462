"""The nearest neighbours by the angle between embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .scaling import fit_scaling

_BLOCK = 2**24  # similarities held at once
_TOUCH = 1e-6  # least cosine distance: a copy of an image counts for no more than 1e6 others


@dataclass(frozen=True)
class NeighborsPredictor:
    """Votes of the `k` rows with the smallest cosine distance.

    A neighbour at distance d votes with weight / d. The votes count as `k` images, and one more
    that has the class frequencies of the rows is added, so that no class seen has probability 0:
    p = (k * votes / sum(votes) + frequencies) / (k + 1).

    Angles are between centred and scaled features (see `tlx.classify.heads.scaling`): what all
    images have in common would make all of them near.

    Attributes
    ----------
    rows : ndarray of shape (n, D), float32
        Centred and scaled, then of length 1.
    labels : ndarray of shape (n,), int
    weight : ndarray of shape (n,), float64
    n_classes : int
    k : int
    mean, scale : ndarray of shape (D,), float32
        What is subtracted from features, and what they are then divided by.
    """

    rows: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    n_classes: int
    k: int
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(
        cls, X: np.ndarray, labels: np.ndarray, weight: np.ndarray, n_classes: int, k: int
    ) -> NeighborsPredictor:
        """Learn rows of features X (n, D)."""
        mean, scale = (found.astype(np.float32) for found in fit_scaling(X))
        rows = unit_rows((X - mean) / scale)
        return cls(rows, labels, weight.astype(np.float64), n_classes, min(k, len(X)), mean, scale)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities, shape (N, C) float64."""
        places, distances = self.neighbors(X, self.k)
        return vote(places, distances, self.labels, self.weight, self.n_classes, self.k)

    def neighbors(self, X: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the places (N, k) and cosine distances (N, k) of the nearest, nearest first."""
        k = min(k, len(self.rows))
        places = np.empty((len(X), k), int)
        distances = np.empty((len(X), k), np.float32)
        stride = max(1, _BLOCK // len(self.rows))
        for start in range(0, len(X), stride):
            part = slice(start, start + stride)
            distance = 1 - unit_rows((X[part] - self.mean) / self.scale) @ self.rows.T
            near = np.argpartition(distance, k - 1, axis=1)[:, :k]
            values = np.take_along_axis(distance, near, axis=1)
            order = np.argsort(values, axis=1, kind="stable")
            places[part] = np.take_along_axis(near, order, axis=1)
            distances[part] = np.take_along_axis(values, order, axis=1)
        return places, distances

    def parts(self) -> dict[str, bytes]:
        """Return the file ``head.skops``: a scikit-learn estimator whose classes are indices."""
        import skops.io

        from .estimators import KNNHead

        return {"head.skops": skops.io.dumps(KNNHead.of(self))}


def knn_path(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, ks: Sequence[int]
) -> Iterator[_NeighborsStep]:
    """Fit nearest neighbours with every k, from the largest; each row is searched for once.

    Parameters
    ----------
    X : ndarray of shape (N, D)
    y : ndarray of shape (N,), int
    weights : ndarray of shape (F, N)
    ks : sequence of int
        A k above the number of rows is as good as that number.

    Yields
    ------
    PathStep
    """
    found: dict[int, tuple[np.ndarray, Any]] = {}
    last: dict[int, NeighborsPredictor] = {}
    for k in sorted(ks, reverse=True):
        yield _NeighborsStep({"k": k}, X, y, weights, max(ks), found, last)


@dataclass(frozen=True)
class _NeighborsStep:
    params: dict[str, Any]
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    most: int
    found: dict[int, tuple[np.ndarray, Any]]  # by problem: the rows asked for, their neighbours
    last: dict[int, NeighborsPredictor]  # of the problem asked for last: all k share its rows

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        if problem not in self.found or not np.array_equal(self.found[problem][0], rows):
            found = self._fit(problem).neighbors(self.X[rows], self.most)
            self.found[problem] = rows, found
        weight = self.weights[problem]
        taken = np.flatnonzero(weight > 0)
        k = min(self.params["k"], len(taken))
        C = int(self.y.max()) + 1
        places, distances = self.found[problem][1]
        return vote(places, distances, self.y[taken], weight[taken], C, k)

    def head(self, problem: int) -> NeighborsPredictor:
        if problem not in self.last:
            self.last.clear()
            self.last[problem] = self._fit(problem)
        k = min(self.params["k"], len(self.last[problem].rows))
        return replace(self.last[problem], k=k)

    def _fit(self, problem: int) -> NeighborsPredictor:
        taken = np.flatnonzero(self.weights[problem] > 0)
        return NeighborsPredictor.of(
            self.X[taken],
            self.y[taken],
            self.weights[problem][taken],
            int(self.y.max()) + 1,
            self.params["k"],
        )


def vote(
    places: np.ndarray,
    distances: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray,
    n_classes: int,
    k: int,
) -> np.ndarray:
    """Return probabilities (N, C) given the neighbours (N, at least k), of which k vote."""
    places, distances = places[:, :k], distances[:, :k]
    share = weight[places] / np.maximum(distances, _TOUCH).astype(np.float64)
    votes = np.zeros((len(places), n_classes))
    np.add.at(votes, (np.arange(len(places))[:, None], labels[places]), share)
    votes /= votes.sum(axis=1, keepdims=True)
    frequency = np.bincount(labels, weight, minlength=n_classes)
    return (k * votes + frequency / frequency.sum()) / (k + 1)


def unit_rows(X: np.ndarray) -> np.ndarray:
    """Return rows of length 1, float32; a row of zeros stays one."""
    X = X.astype(np.float32)
    length = np.sqrt(np.einsum("nd,nd->n", X, X, dtype=np.float64)).astype(np.float32)
    return X / np.where(length > 0, length, 1)[:, None]
