"""Fit one head under many weightings of the rows and along its grid: what evaluation asks for.

Evaluation needs every fold at every point of the grid. A head that can share work between them
(logistic regression shares all its matrix products) does it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from ..errors import UnknownNameError
from .linear import LinearPredictor, both_logits, softmax
from .logistic import PathPoint, logistic_path

GRIDS: dict[str, dict[str, list[float]]] = {
    # On standardised features, of which there are about as many as images: far below 1.
    "logreg": {"C": np.logspace(-5, 1, 10).tolist()},
}


class PathStep(Protocol):
    """All problems of a path, fitted with one set of parameters.

    Attributes
    ----------
    params : dict
        The point of the grid.
    """

    params: dict[str, Any]

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities that problem `problem` gives `rows`, shape (len(rows), C)."""
        ...

    def head(self, problem: int) -> LinearPredictor:
        """Return the fitted head of problem `problem`."""
        ...


def fit_path(
    model: str,
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    grid: Mapping[str, list[float]] | None = None,
    *,
    class_weight: str | None = None,
) -> Iterator[PathStep]:
    """Fit every problem at every point of the grid, the strongest regularisation first.

    Parameters
    ----------
    model : str
        A key of `GRIDS`.
    X : ndarray of shape (N, D), float32
    y : ndarray of shape (N,), int
    weights : ndarray of shape (F, N)
        A row a problem, zero for images held out.
    grid : mapping, optional
        Candidates by parameter; by default the head's own.
    class_weight : {"balanced"} or None, default=None

    Yields
    ------
    PathStep

    Raises
    ------
    UnknownNameError
        If there is no such model.
    """
    if model not in GRIDS:
        raise UnknownNameError.nearest("model", model, GRIDS)
    grid = grid or GRIDS[model]
    weighed = np.stack([w * class_weights(y, class_weight, w > 0) for w in weights])
    for point in logistic_path(X, y, weighed, grid["C"]):
        yield _LogisticStep(point)


class _LogisticStep:
    def __init__(self, point: PathPoint) -> None:
        self.params = {"C": point.C}
        self._point = point

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        return softmax(both_logits(self._point.logits[problem, rows]))

    def head(self, problem: int) -> LinearPredictor:
        coef, intercept = self._point.coef[problem], self._point.intercept[problem]
        return LinearPredictor(both_logits(coef).copy(), both_logits(intercept).copy())


def class_weights(
    y: np.ndarray, class_weight: str | None, taken: np.ndarray | None = None
) -> np.ndarray:
    """Return a factor for each image, shape (N,): ones, or N / (C * images of its class).

    Only images of the mask `taken` are counted, so that those held out say nothing.
    """
    if class_weight is None:
        return np.ones(len(y))
    counts = np.bincount(y if taken is None else y[taken], minlength=y.max() + 1)
    return (counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1)))[y]
