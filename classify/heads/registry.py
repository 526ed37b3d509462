"""Fit one head under many weightings of the rows and along its grid: what evaluation asks for.

Evaluation needs every fold at every point of the grid. Each head shares between them what it can:
logistic regression and the support vector machine all their matrix products, ridge and linear
discriminant analysis one eigendecomposition a problem for the whole grid, nearest neighbours the
neighbours. The dense head stops early instead of searching a grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...errors import FitError, UnknownNameError
from .linear import LinearPredictor, both_logits, softmax
from .logistic import logistic_path
from .solver import Solution

# The candidates of each head, the strongest regularisation first. Features are scaled to a
# mean variance of 1, and there are from 64 to a few thousand of them for 50 to 50,000 images.
GRIDS: dict[str, dict[str, list[float]]] = {
    # With about as many features as images, good values are far below 1.
    "logreg": {"C": np.logspace(-5, 1, 10).tolist()},
    # The squared hinge is eight times as curved as the logistic loss.
    "svm": {"C": np.logspace(-6, 0, 10).tolist()},
    "lda": {"shrinkage": [0.99, 0.95, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001]},
    # Against eigenvalues of Z^T Z, whose mean is N and whose largest is nearly N D.
    "ridge": {"alpha": np.logspace(6, 0, 13).tolist()},
    "knn": {"k": [100, 50, 20, 10, 5, 3, 1]},
    # In units of D: of D equal features the squared distance is D times that of one.
    "centroid": {"temperature": np.logspace(0, -3, 10).tolist()},
    "dense": {},
}

# What else each head takes.
OPTIONS: dict[str, tuple[str, ...]] = {
    "logreg": ("C", "class_weight"),
    "svm": ("C", "class_weight"),
    "lda": ("class_weight",),
    "ridge": ("class_weight",),
    "knn": ("class_weight",),
    "centroid": (),
    "dense": ("class_weight", "hidden", "dropout", "output"),
}


class Predictor(Protocol):
    """A fitted head, free of what fitted it."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities, shape (N, C) float64."""
        ...

    def parts(self) -> dict[str, bytes]:
        """Return the files that a run keeps of it, by name."""
        ...


class PathStep(Protocol):
    """All problems of a path, fitted with one set of parameters."""

    @property
    def params(self) -> dict[str, Any]:
        """The point of the grid."""
        ...

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities that problem `problem` gives `rows`, shape (len(rows), C)."""
        ...

    def head(self, problem: int) -> Predictor:
        """Return the fitted head of problem `problem`."""
        ...


def grid_of(model: str, C: float | None = None) -> dict[str, list[float]]:
    """Return the candidates of a head by parameter; a given `C` is the only one of its kind.

    Raises
    ------
    UnknownNameError
        If there is no such model.
    FitError
        If the model has no `C`.
    """
    if model not in GRIDS:
        raise UnknownNameError.nearest("model", model, GRIDS)
    if C is None:
        return GRIDS[model]
    check_options(model, {"C": C})
    return {**GRIDS[model], "C": [C]}


def check_options(model: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a head does not have.

    Raises
    ------
    FitError
    """
    for name in options:
        if name not in OPTIONS[model]:
            able = ", ".join(m for m in OPTIONS if name in OPTIONS[m]) or "none"
            raise FitError(f"{model} has no option {name!r}.", f"Heads that have it: {able}.")


def _check_grid(model: str, grid: Mapping[str, Sequence[float]]) -> None:
    """Refuse a grid over other parameters than the model's, and values that make no sense."""
    if grid.keys() != GRIDS[model].keys():
        raise FitError(
            f"{model} has no grid over {', '.join(grid) or 'nothing'}.",
            f"It has one over {', '.join(GRIDS[model]) or 'nothing'}.",
        )
    for name, values in grid.items():
        for value in values:
            if name == "shrinkage" and not 0 <= value <= 1:
                raise FitError(f"shrinkage = {value} is no share.", "Use 0 to 1, such as 0.5.")
            if name == "k" and (value != int(value) or value < 1):
                raise FitError(f"k = {value} is no number of neighbours.", "Use 1 or more.")
            if name in ("C", "alpha", "temperature") and not 0 < value < np.inf:
                raise FitError(f"{name} = {value} is no strength.", "Use more than 0, such as 1.0.")


def points(grid: Mapping[str, Sequence[float]]) -> int:
    """Return how many points a grid has."""
    return int(np.prod([len(values) for values in grid.values()]))


def fit_path(
    model: str,
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    grid: Mapping[str, list[float]] | None = None,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    class_weight: str | None = None,
    **options: Any,
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
    groups : ndarray of shape (N,), int, optional
        Where a head holds out some of its rows (to stop early, to scale its probabilities), groups
        stay whole. By default each row is its own.
    seed : int, default=0
        Of those rows held out, and of all else that is random.
    class_weight : {"balanced"} or None, default=None
    **options
        Of the dense head: see `tlx.classify.heads.dense.dense_path`.

    Yields
    ------
    PathStep

    Raises
    ------
    UnknownNameError
        If there is no such model.
    FitError
        If the model does not have such an option, a feature is not finite, or a problem has one
        class only.
    """
    if model not in GRIDS:
        raise UnknownNameError.nearest("model", model, GRIDS)
    check_options(model, options)
    if class_weight is not None:
        check_options(model, {"class_weight": class_weight})
    grid = dict(grid or GRIDS[model])
    _check_grid(model, grid)
    weighed = np.stack([w * class_weights(y, class_weight, w > 0) for w in weights])
    groups = np.arange(len(y)) if groups is None else groups
    if model == "logreg":
        for point in logistic_path(X, y, weighed, grid["C"]):
            yield _LogisticStep(point)
        return
    _check_problems(X, y, weighed)
    if model == "svm":
        from .svm import svm_path

        for C, heads in svm_path(X, y, weighed, grid["C"], groups=groups, seed=seed):
            yield PredictorStep({"C": C}, X, heads)
    elif model == "knn":
        from .knn import knn_path

        yield from knn_path(X, y, weighed, [int(k) for k in grid["k"]])
    elif model == "dense":
        from .dense import dense_path

        yield dense_path(X, y, weighed, groups=groups, seed=seed, **options)
    else:
        from .closed_form import closed_form_path

        ((name, values),) = grid.items()
        for value, heads in closed_form_path(model, X, y, weighed, values, groups):
            yield PredictorStep({name: value}, X, heads)


@dataclass(frozen=True)
class PredictorStep:
    """A step whose problems each have a predictor of their own.

    Attributes
    ----------
    params : dict
    X : ndarray of shape (N, D)
    heads : sequence of F predictors
    """

    params: dict[str, Any]
    X: np.ndarray
    heads: Sequence[Predictor]

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities that problem `problem` gives `rows`, shape (len(rows), C)."""
        return self.heads[problem].predict_proba(self.X[rows])

    def head(self, problem: int) -> Predictor:
        """Return the fitted head of problem `problem`."""
        return self.heads[problem]


class _LogisticStep:
    def __init__(self, point: Solution) -> None:
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

    Raises
    ------
    FitError
        If `class_weight` is neither None nor ``"balanced"``.
    """
    if class_weight is None:
        return np.ones(len(y))
    if class_weight != "balanced":
        raise FitError(f"unknown class weight: {class_weight!r}.", "Use balanced, or none.")
    counts = np.bincount(y if taken is None else y[taken], minlength=y.max() + 1)
    return (counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1)))[y]


def _check_problems(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> None:
    """Refuse features that are not finite, and problems with one class."""
    if not (np.isfinite(X.min(axis=0)).all() and np.isfinite(X.max(axis=0)).all()):
        raise FitError(
            "a feature is not finite in some row.",
            "Remove the rows whose features are NaN or infinite.",
        )
    if not np.isfinite(weights).all() or weights.min(initial=0) < 0:
        raise FitError("a sample weight is negative or not finite.", "Pass weights of 0 or more.")
    for problem, weight in enumerate(weights):
        if len(np.unique(y[weight > 0])) < 2:
            raise FitError(
                f"the training rows of problem {problem} have one class only.",
                "Use fewer folds, or more images of the rarest class.",
            )
