"""Any scikit-learn classifier as a head: fitted on the same folds, scored in the same way.

It has no grid. A run keeps its predictions, and what it learned only where that can be without
pickle and the user confirmed all that it is made of: see `tlx.classify.heads.saved_estimator`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import FitError
from .head import Head, PredictorPoint, Problems, describe
from .linear import both_logits, softmax


@dataclass(frozen=True, repr=False)
class EstimatorPredictor:
    """A fitted classifier of somebody else's.

    Attributes
    ----------
    estimator : object
        With ``predict_proba`` or ``decision_function``.
    seen : ndarray of int
        The classes that it has learned, in the order of its own.
    n_features, n_classes : int
    """

    estimator: Any
    seen: np.ndarray
    n_features: int
    n_classes: int

    def __repr__(self) -> str:
        return describe(self)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return probabilities, shape (N, C) float64; 0 for a class that it has not seen.

        Decision values d of a classifier without probabilities count as logits, as softmax(d) (for
        two classes the sigmoid of d): the temperature fitted afterwards gives them their scale.
        """
        probabilities = np.zeros((len(X), self.n_classes))
        if not len(X):  # which scikit-learn refuses
            return probabilities
        if hasattr(self.estimator, "predict_proba"):
            found = np.asarray(self.estimator.predict_proba(X), np.float64)
        else:
            values = np.asarray(self.estimator.decision_function(X), np.float64)
            found = softmax(both_logits(values.reshape(len(X), -1)))
        probabilities[:, self.seen] = found
        return probabilities

    def parts(self) -> dict[str, bytes]:
        """Return no file: `keep_estimator` writes one, with the user's consent."""
        return {}


def is_estimator(model: object) -> bool:
    """Return whether `model` looks like a classifier of scikit-learn's kind."""
    return hasattr(model, "fit") and hasattr(model, "get_params") and not isinstance(model, type)


def head_of(estimator: Any) -> Head:
    """Return a classifier as a head, by the name of its class.

    Raises
    ------
    FitError
        If it has neither ``predict_proba`` nor ``decision_function``.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> head_of(DecisionTreeClassifier()).name
    'DecisionTreeClassifier'
    """
    name = type(estimator).__name__
    if not (hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")):
        raise FitError(
            f"{name} has neither predict_proba nor decision_function.",
            "Use a classifier that has one of them.",
        )

    def fit(problems: Problems, grid: Mapping[str, Any]) -> Iterator[PredictorPoint]:
        fitted = [_fit_one(estimator, problems, weight) for weight in problems.weights]
        yield PredictorPoint({}, problems.X, fitted)

    return Head(
        name=name,
        help=f"{name} of {type(estimator).__module__.split('.')[0]}",
        estimator=name,
        notes="It is cloned for each problem.",
        fit=fit,
        predictors=(EstimatorPredictor,),
    )


def _fit_one(estimator: Any, problems: Problems, weight: np.ndarray) -> EstimatorPredictor:
    """Fit a clone on the rows of a problem; all of them weigh the same, as it has no options."""
    rows = np.flatnonzero(weight > 0)
    X = problems.X[rows]
    seen, y = np.unique(problems.y[rows], return_inverse=True)  # some want 0 to C - 1, all present
    clone = _clone(estimator)
    try:
        clone.fit(X, y)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise FitError(
            f"{type(estimator).__name__} could not be fitted: {reason}.",
            "Change its parameters.",
        ) from error
    return EstimatorPredictor(clone, seen, X.shape[1], problems.n_classes)


def _clone(estimator: Any) -> Any:
    """Return an unfitted copy: scikit-learn's, where it is one of its kind."""
    if hasattr(estimator, "__sklearn_tags__") or hasattr(estimator, "_get_param_names"):
        from sklearn.base import clone

        return clone(estimator)
    return copy.deepcopy(estimator)
