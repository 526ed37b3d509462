"""The heads: classifiers over embeddings, each a scikit-learn estimator.

N images, D features, C classes throughout. All see features centred and scaled by the rows they
learn from (see `tlx.classify.heads.scaling`). The fits themselves are in
`tlx.classify.heads.registry`, which evaluation uses for many folds at once; a head here is a fold
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ...errors import FitError
from .dense import DensePredictor
from .knn import NeighborsPredictor
from .linear import LinearPredictor, softmax
from .registry import Predictor, fit_path


class _Head(ClassifierMixin, BaseEstimator):
    """What all heads share: labels of any kind, and a path of one problem and one point."""

    n_features_in_: int
    classes_: np.ndarray

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, shape (N,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities, shape (N, C) float64, in the order of `classes_`."""
        raise NotImplementedError

    def _fit(
        self,
        model: str,
        grid: dict[str, list[Any]],
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any = None,
        class_weight: Any = None,
        **options: Any,
    ) -> Predictor:
        X, y = map(np.asarray, validate_data(self, X, y, dtype=np.float32))
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise FitError(
                f"y has one class only: {self.classes_.tolist()[0]!r}.", "A classifier needs two."
            )
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if isinstance(class_weight, dict):
            weight, class_weight = weight * compute_sample_weight(class_weight, y), None
        if groups is not None:
            groups = np.unique(groups, return_inverse=True)[1]
        options["class_weight"] = class_weight
        (step,) = fit_path(model, X, labels, weight[None], grid, groups=groups, **options)
        return step.head(0)

    def _features(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=np.float32, reset=False))


class _LinearHead(_Head):
    """A head whose logits are linear in the features."""

    coef_: np.ndarray
    intercept_: np.ndarray

    def decision_function(self, X: Any) -> np.ndarray:
        """Return logits, shape (N, C); for two classes the log odds of the second, shape (N,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities, shape (N, C) float64, in the order of `classes_`."""
        return softmax(self._logits(X))

    def linear(self) -> LinearPredictor:
        """Return the weights (D, C) and biases (C,) whose logits are ``X @ weights + bias``."""
        check_is_fitted(self)
        return LinearPredictor(self.coef_, self.intercept_)

    def _logits(self, X: Any) -> np.ndarray:
        return self.linear().logits(self._features(X))

    def _keep(self, predictor: Any) -> Any:
        self.coef_, self.intercept_ = predictor.weights, predictor.bias
        return self


class LogisticHead(_LinearHead):
    """Logistic regression with an L2 penalty.

    Parameters
    ----------
    C : float, default=1e-2
        Inverse strength of the penalty, as in `sklearn.linear_model.LogisticRegression`. Embeddings
        have about as many features as a small data set has images, so good values are far below 1.
    class_weight : {"balanced"}, dict or None, default=None
        ``"balanced"`` weighs each image by N / (C * images of its class).

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

    def __init__(self, C: float = 1e-2, class_weight: str | dict[Any, float] | None = None) -> None:
        self.C = C
        self.class_weight = class_weight

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
        grid = {"C": [self.C]}
        return self._keep(
            self._fit("logreg", grid, X, y, sample_weight, class_weight=self.class_weight)
        )


class SVMHead(_LinearHead):
    """Linear support vector machines, one a class against the rest, with the squared hinge loss.

    The decision is that of `sklearn.svm.LinearSVC` (with a free intercept). Its values times a
    factor are the logits; the factor is fitted on values that rows get from fits without them, in
    threefold cross-validation: see `tlx.classify.heads.svm.svm_path`.

    Parameters
    ----------
    C : float, default=1e-3
        Inverse strength of the penalty.
    class_weight : {"balanced"}, dict or None, default=None
    random_state : int, default=0
        Of the three folds.

    Attributes
    ----------
    classes_, coef_, intercept_, n_features_in_
        As in `LogisticHead`; the factor is folded in.
    """

    def __init__(
        self,
        C: float = 1e-3,
        class_weight: str | dict[Any, float] | None = None,
        random_state: int = 0,
    ) -> None:
        self.C = C
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> SVMHead:
        """Fit the head; rows of one group (N,) are held out together. Else as `LogisticHead`."""
        return self._keep(
            self._fit(
                "svm",
                {"C": [self.C]},
                X,
                y,
                sample_weight,
                groups,
                seed=self.random_state,
                class_weight=self.class_weight,
            )
        )


class LDAHead(_LinearHead):
    """Linear discriminant analysis, its covariance shrunk towards a multiple of the identity.

    Logits and probabilities are those of `sklearn.discriminant_analysis.LinearDiscriminantAnalysis`
    with ``solver="lsqr"`` and the same shrinkage, on features scaled alike.

    Parameters
    ----------
    shrinkage : float, default=0.5
        From 0 (the covariance as it is, which must then be invertible) to 1 (the identity).
    class_weight : {"balanced"}, dict or None, default=None
        ``"balanced"`` is uniform priors.

    Attributes
    ----------
    classes_, coef_, intercept_, n_features_in_
        As in `LogisticHead`.
    """

    def __init__(
        self, shrinkage: float = 0.5, class_weight: str | dict[Any, float] | None = None
    ) -> None:
        self.shrinkage = shrinkage
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LDAHead:
        """Fit the head: see `LogisticHead`."""
        grid = {"shrinkage": [self.shrinkage]}
        return self._keep(
            self._fit("lda", grid, X, y, sample_weight, class_weight=self.class_weight)
        )


class RidgeHead(_LinearHead):
    """Least squares on targets of -1 and 1, one class against the rest, with an L2 penalty.

    The decision is that of `sklearn.linear_model.RidgeClassifier`. Its values times a factor are
    the logits; the factor is fitted on the values that rows would get without their group.

    Parameters
    ----------
    alpha : float, default=1e3
        Strength of the penalty.
    class_weight : {"balanced"}, dict or None, default=None

    Attributes
    ----------
    classes_, coef_, intercept_, n_features_in_
        As in `LogisticHead`; the factor is folded in.
    """

    def __init__(
        self, alpha: float = 1e3, class_weight: str | dict[Any, float] | None = None
    ) -> None:
        self.alpha = alpha
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> RidgeHead:
        """Fit the head; rows of one group (N,) are left out together. Else as `LogisticHead`."""
        grid = {"alpha": [self.alpha]}
        return self._keep(
            self._fit("ridge", grid, X, y, sample_weight, groups, class_weight=self.class_weight)
        )


class CentroidHead(_LinearHead):
    """The nearest class mean: logits are -|z - mean|^2 / (2 D temperature), with no priors.

    Parameters
    ----------
    temperature : float, default=0.02
        In units of D, of scaled features z. It changes probabilities, not decisions.

    Attributes
    ----------
    classes_, coef_, intercept_, n_features_in_
        As in `LogisticHead`; |z|^2, which all classes share, is left out.
    """

    def __init__(self, temperature: float = 0.02) -> None:
        self.temperature = temperature

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CentroidHead:
        """Fit the head: see `LogisticHead`."""
        return self._keep(
            self._fit("centroid", {"temperature": [self.temperature]}, X, y, sample_weight)
        )


class KNNHead(_Head):
    """The nearest neighbours by cosine distance d, each with a vote of 1 / d.

    One more neighbour with the class frequencies is added, so that no class has probability 0: see
    `tlx.classify.heads.knn.NeighborsPredictor`.

    Parameters
    ----------
    k : int, default=20
        Neighbours; more than there are rows count as all.
    class_weight : {"balanced"}, dict or None, default=None

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    rows_ : ndarray of shape (n, D), float32
        The rows learned from, centred and scaled, at length 1.
    labels_ : ndarray of shape (n,), int
        Indices into `classes_`.
    weight_ : ndarray of shape (n,), float64
    mean_, scale_ : ndarray of shape (D,), float32
        Of the features learned from.
    n_features_in_ : int
    """

    def __init__(self, k: int = 20, class_weight: str | dict[Any, float] | None = None) -> None:
        self.k = k
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KNNHead:
        """Keep the rows: see `LogisticHead`."""
        grid = {"k": [self.k]}
        found: Any = self._fit("knn", grid, X, y, sample_weight, class_weight=self.class_weight)
        return self._keep(found)

    @classmethod
    def of(cls, predictor: NeighborsPredictor) -> KNNHead:
        """Return the head of a predictor; its classes are indices."""
        head = cls(predictor.k)
        head.classes_ = np.arange(predictor.n_classes)
        head.n_features_in_ = predictor.rows.shape[1]
        return head._keep(predictor)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities, shape (N, C) float64, in the order of `classes_`."""
        X = self._features(X)
        k = min(self.k, len(self.rows_))
        return NeighborsPredictor(
            self.rows_, self.labels_, self.weight_, len(self.classes_), k, self.mean_, self.scale_
        ).predict_proba(X)

    def _keep(self, predictor: NeighborsPredictor) -> KNNHead:
        self.rows_, self.labels_, self.weight_ = predictor.rows, predictor.labels, predictor.weight
        self.mean_, self.scale_ = predictor.mean, predictor.scale
        return self


class DenseHead(_Head):
    """Dense layers trained by Keras with AdamW and early stopping: see `tlx.classify.heads.dense`.

    Parameters
    ----------
    hidden : sequence of int, default=()
        Units of each hidden layer. Without any the head is linear.
    dropout : float, default=0.0
    output : {"softmax", "sigmoid"}, default="softmax"
    class_weight : {"balanced"}, dict or None, default=None
    random_state : int, default=0

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
    predictor_ : DensePredictor
        The layers as arrays.
    n_features_in_ : int
    """

    def __init__(
        self,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        output: str = "softmax",
        class_weight: str | dict[Any, float] | None = None,
        random_state: int = 0,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.output = output
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> DenseHead:
        """Train the head; rows of one group (N,) are held out together. Else as `LogisticHead`."""
        found: Any = self._fit(
            "dense",
            {},
            X,
            y,
            sample_weight,
            groups,
            seed=self.random_state,
            class_weight=self.class_weight,
            hidden=self.hidden,
            dropout=self.dropout,
            output=self.output,
        )
        self.predictor_: DensePredictor = found
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities, shape (N, C) float64, in the order of `classes_`."""
        X = self._features(X)
        return self.predictor_.predict_proba(X)

    def linear(self) -> LinearPredictor | None:
        """Return the head as a linear one; None if it has hidden layers."""
        check_is_fitted(self)
        return self.predictor_.linear()


HEADS = {
    "logreg": LogisticHead,
    "dense": DenseHead,
    "svm": SVMHead,
    "lda": LDAHead,
    "ridge": RidgeHead,
    "knn": KNNHead,
    "centroid": CentroidHead,
}
