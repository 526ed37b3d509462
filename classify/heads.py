"""The heads: classifiers over embeddings, each a scikit-learn estimator with its search grid.

N images, D features, C classes throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ..errors import UnknownNameError
from .linear import LinearPredictor, softmax
from .logistic import PathPoint, logistic_path


class LogisticHead(ClassifierMixin, BaseEstimator):
    """Logistic regression with an L2 penalty on standardised features.

    Parameters
    ----------
    C : float, default=1e-2
        Inverse strength of the penalty, as in `sklearn.linear_model.LogisticRegression`. Embeddings
        have about as many features as a small data set has images, so good values are far below 1.
    class_weight : {"balanced"} or None, default=None
        ``"balanced"`` weighs each image by N / (C * images of its class).
    tol : float, default=1e-4
        Largest component of the gradient at which the fit stops.
    max_iter : int, default=200
        Most iterations of the solver.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    coef_ : ndarray of shape (D, C), float32
        Weights on raw features: the scaling is folded in.
    intercept_ : ndarray of shape (C,), float32
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 1.0], [0.1, 0.9], [1.0, 0.0], [0.9, 0.2]])
    >>> LogisticHead(C=1.0).fit(X, ["cat", "cat", "dog", "dog"]).predict([[0.95, 0.1]]).tolist()
    ['dog']
    """

    n_features_in_: int

    grid: ClassVar[dict[str, list[float]]] = {"C": np.logspace(-5, 1, 10).tolist()}

    def __init__(
        self,
        C: float = 1e-2,
        class_weight: str | None = None,
        tol: float = 1e-4,
        max_iter: int = 200,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticHead:
        """Fit the head.

        Parameters
        ----------
        X : array of shape (N, D)
        y : array of shape (N,)
        sample_weight : array of shape (N,), optional

        Returns
        -------
        LogisticHead
            The head itself.

        Raises
        ------
        FitError
            If there is only one class.
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        self.classes_, labels = np.unique(y, return_inverse=True)
        weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
        weight = weight * class_weights(labels, self.class_weight)
        (point,) = logistic_path(
            X, labels, weight[None], [self.C], tol=self.tol, max_iter=self.max_iter
        )
        self.coef_, self.intercept_ = _both_logits(point.coef[0], point.intercept[0])
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return logits, shape (N, C); for two classes the log odds of the second, shape (N,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities, shape (N, C) float64, in the order of `classes_`."""
        return softmax(self._logits(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, shape (N,)."""
        return self.classes_[self._logits(X).argmax(axis=1)]

    def linear(self) -> LinearPredictor:
        """Return the weights (D, C) and biases (C,) whose logits are ``X @ weights + bias``."""
        check_is_fitted(self)
        return LinearPredictor(self.coef_, self.intercept_)

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float32, reset=False)
        return X @ self.coef_ + self.intercept_

    @classmethod
    def path(
        cls,
        X: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray,
        grid: dict[str, list[float]],
        **params: Any,
    ) -> Iterator[PathStep]:
        """Fit many weightings of the rows along the grid, all at once. See `PathStep`."""
        weighed = np.stack([w * class_weights(y, params.get("class_weight"), w) for w in weights])
        for point in logistic_path(X, y, weighed, grid["C"]):
            yield _LogisticStep(cls, point, params)


@dataclass
class PathStep:
    """All problems of a path, fitted with one set of parameters.

    Attributes
    ----------
    params : dict
        The point of the grid.
    """

    params: dict[str, Any]

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities that problem `problem` gives `rows`, shape (len(rows), C)."""
        raise NotImplementedError

    def head(self, problem: int) -> Any:
        """Return the fitted head of problem `problem`."""
        raise NotImplementedError


class _LogisticStep(PathStep):
    def __init__(
        self, head_class: type[LogisticHead], point: PathPoint, params: dict[str, Any]
    ) -> None:
        super().__init__({"C": point.C})
        self._class, self._point, self._fixed = head_class, point, params

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        logits = self._point.logits[problem, rows]
        return softmax(np.hstack([-logits / 2, logits / 2]) if logits.shape[1] == 1 else logits)

    def head(self, problem: int) -> LogisticHead:
        head = self._class(**self.params, **self._fixed)
        coef, intercept = self._point.coef[problem], self._point.intercept[problem]
        head.coef_, head.intercept_ = _both_logits(coef.copy(), intercept.copy())
        head.n_features_in_ = len(coef)
        head.classes_ = np.arange(len(head.intercept_))
        return head


HEADS: dict[str, Any] = {"logreg": LogisticHead}


def get_head(model: str) -> Any:
    """Return the class of a head.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    """
    if model not in HEADS:
        raise UnknownNameError.nearest("model", model, HEADS)
    return HEADS[model]


def class_weights(
    y: np.ndarray, class_weight: str | None, weight: Sequence[float] | np.ndarray | None = None
) -> np.ndarray:
    """Return a factor for each image, shape (N,): ones, or N / (C * images of its class).

    Only rows with positive `weight` count, so that rows held out say nothing.
    """
    if class_weight is None:
        return np.ones(len(y))
    taken = np.ones(len(y), bool) if weight is None else np.asarray(weight) > 0
    counts = np.bincount(y[taken], minlength=y.max() + 1)
    return (taken.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1)))[y]


def _both_logits(coef: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn one log odds of the second class into two logits that differ by it; leave more alone."""
    if coef.shape[1] > 1:
        return coef, intercept
    return np.hstack([-coef / 2, coef / 2]), np.concatenate([-intercept / 2, intercept / 2])
