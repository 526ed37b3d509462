"""The heads: classifiers over embeddings, each a scikit-learn estimator.

N images, D features, C classes throughout.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .linear import LinearPredictor, both_logits, softmax
from .logistic import logistic_path
from .paths import class_weights


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
        self.coef_, self.intercept_ = both_logits(point.coef[0]), both_logits(point.intercept[0])
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
