"""The nearest neighbours by the angle between embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..cosine import unit_rows
from ..large import blocks_of, is_large
from .arrays import head_parts
from .head import CLASS_WEIGHT, Head, Option, Problems, describe
from .scaling import fit_scaling

_BLOCK = 2**24  # similarities held at once
_ARRAYS = {  # of the file
    "rows": np.float32,
    "labels": np.int64,
    "weight": np.float64,
    "mean": np.float32,
    "scale": np.float32,
}
TOUCH = 1e-6  # least cosine distance: a copy of an image counts for no more than 1e6 others


@dataclass(frozen=True, repr=False)
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

    kind: ClassVar[str] = "neighbors"
    rows: np.ndarray
    labels: np.ndarray
    weight: np.ndarray
    n_classes: int
    k: int
    mean: np.ndarray
    scale: np.ndarray

    def __repr__(self) -> str:
        return describe(self)

    @property
    def n_features(self) -> int:
        """D."""
        return self.rows.shape[1]

    @classmethod
    def of(
        cls, X: np.ndarray, labels: np.ndarray, weight: np.ndarray, n_classes: int, k: int
    ) -> NeighborsPredictor:
        """Learn rows of features X (n, D)."""
        mean, scale = (found.astype(np.float32) for found in fit_scaling(X))
        rows = unit_rows((X - mean) / scale)
        weight, labels = weight.astype(np.float64), labels.astype(np.int64)
        return cls(rows, labels, weight, n_classes, min(k, len(X)), mean, scale)

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
        """Return the file that a run keeps, ``head.h5``."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        sizes = {"k": np.int64(self.k), "n_classes": np.int64(self.n_classes)}
        return head_parts(self.kind, {**arrays, **sizes})

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> NeighborsPredictor:
        """Return the head that `parts` wrote, if its arrays fit together."""
        found = {name: arrays[name] for name in _ARRAYS}
        k, C = (arrays[name] for name in ("k", "n_classes"))
        if not k.shape == C.shape == () or not k.dtype == C.dtype == np.int64:
            raise ValueError(f"k {k.shape} {k.dtype} and n_classes {C.shape} {C.dtype}")
        types = {name: array.dtype for name, array in found.items()}
        if types != {name: np.dtype(kind) for name, kind in _ARRAYS.items()}:
            raise ValueError(f"arrays of types {', '.join(map(str, types.values()))}")
        rows, labels = found["rows"], found["labels"]
        fit = rows.ndim == 2 and labels.shape == found["weight"].shape == rows.shape[:1]
        if not fit or not found["mean"].shape == found["scale"].shape == rows.shape[1:]:
            raise ValueError("arrays of shapes that do not fit together")
        if not 1 <= k <= len(rows) or labels.min() < 0 or labels.max() >= C:
            raise ValueError(f"{k} neighbours of {len(rows)} rows, {C} classes")
        return cls(**found, k=int(k), n_classes=int(C))


def knn_path(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray, ks: Sequence[int]
) -> Iterator[_NeighborsPoint]:
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
    GridPoint
    """
    found: dict[int, tuple[np.ndarray, Any]] = {}
    last: dict[int, NeighborsPredictor] = {}
    for k in sorted(ks, reverse=True):
        yield _NeighborsPoint({"k": k}, X, y, weights, max(ks), found, last)


@dataclass(frozen=True)
class _NeighborsPoint:
    params: dict[str, Any]
    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    most: int
    found: dict[int, tuple[np.ndarray, Any]]  # by problem: the rows asked for, their neighbours
    last: dict[int, NeighborsPredictor]  # of the problem asked for last: all k share its rows

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        if problem not in self.found or not np.array_equal(self.found[problem][0], rows):
            found = self._neighbors(self._fit(problem), rows)
            self.found[problem] = rows, found
        weight = self.weights[problem]
        taken = np.flatnonzero(weight > 0)
        k = min(self.params["k"], len(taken))
        C = int(self.y.max()) + 1
        places, distances = self.found[problem][1]
        return vote(places, distances, self.y[taken], weight[taken], C, k)

    def _neighbors(
        self, fitted: NeighborsPredictor, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the places and distances (m, most); of many rows, block by block."""
        if not is_large(self.X):
            return fitted.neighbors(self.X[rows], self.most)
        blocks = blocks_of(len(rows), self.X.shape[1])
        parts = [fitted.neighbors(self.X[rows[block]], self.most) for block in blocks]
        none = np.empty((0, self.most), int), np.empty((0, self.most), np.float32)
        places, distances = (np.concatenate(both) for both in zip(*parts or [none], strict=True))
        return places, distances

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
    share = weight[places] / np.maximum(distances, TOUCH).astype(np.float64)
    votes = np.zeros((len(places), n_classes))
    np.add.at(votes, (np.arange(len(places))[:, None], labels[places]), share)
    votes /= votes.sum(axis=1, keepdims=True)
    frequency = np.bincount(labels, weight, minlength=n_classes)
    return (k * votes + frequency / frequency.sum()) / (k + 1)


def _fit(problems: Problems, grid: Mapping[str, Sequence[float]]) -> Iterator[_NeighborsPoint]:
    ks = [int(k) for k in grid["k"]]
    yield from knn_path(problems.X, problems.y, problems.weights, ks)


HEAD = Head(
    name="knn",
    help="nearest neighbours by angle",
    estimator="KNNHead",
    notes=(
        "Neighbours by cosine distance d have a vote of 1 / d each. One more neighbour with "
        "the class frequencies is added, so that no class has probability 0."
    ),
    fit=_fit,
    predictors=(NeighborsPredictor,),
    options=(
        Option(
            "k",
            "Neighbours that vote",
            int,
            20,
            grid=(100, 50, 20, 10, 5, 3, 1),
            fits=lambda value: value == int(value) and value >= 1,
            allowed="1 or more",
        ),
        CLASS_WEIGHT,
    ),
    cost=2,
)
