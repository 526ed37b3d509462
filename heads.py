"""Every head as a scikit-learn estimator: ``tlx.heads.LogisticHead`` and the others.

The classes are made from what `tlx.classify.heads.registry` says of each head. All see features
centred and scaled by the rows they learn from (see `tlx.classify.heads.scaling`). N images, D
features, C classes throughout.

Examples
--------
>>> from tlx.heads import LogisticHead
>>> head = LogisticHead(C=1.0).fit([[0, 1], [0.1, 0.9], [1, 0], [0.9, 0.2]], list("ccdd"))
>>> head, head.predict([[0.95, 0.1]]).tolist()
(LogisticHead(C=1.0), ['d'])
"""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from .classify.heads.head import Head, Option
from .classify.heads.linear import LinearPredictor
from .classify.heads.registry import fit_grid
from .classify.heads.registry import heads as _heads
from .errors import FitError


class HeadEstimator(ClassifierMixin, BaseEstimator):
    """What all heads share: labels of any kind, and a grid of one point for one problem."""

    head: Head
    n_features_in_: int
    classes_: np.ndarray
    predictor_: Any

    def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> HeadEstimator:
        """Fit the head.

        Parameters
        ----------
        X : array of shape (N, D)
        y : array of shape (N,)
        sample_weight : array of shape (N,), optional
        groups : array of shape (N,), optional
            Rows of one group are held out together, where the head holds out some of its rows to
            stop early or to scale its probabilities. By default each row is its own group.

        Returns
        -------
        HeadEstimator
            The head itself.

        Raises
        ------
        FitError
            If there is only one class.
        """
        X, y = map(np.asarray, validate_data(self, X, y, dtype=np.float32))
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise FitError(
                f"y has one class only: {self.classes_.tolist()[0]!r}.", "A classifier needs two."
            )
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        options = self.get_params(deep=False)
        seed = options.pop("random_state", 0)
        if isinstance(options.get("class_weight"), dict):
            weight = weight * compute_sample_weight(options.pop("class_weight"), y)
        if groups is not None:
            groups = np.unique(groups, return_inverse=True)[1]
        (point,) = fit_grid(self.head, X, labels, weight[None], groups=groups, seed=seed, **options)
        self.predictor_ = point.head(0)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, shape (N,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return probabilities, shape (N, C) float64, in the order of `classes_`."""
        X = self._features(X)
        return self.predictor_.predict_proba(X)

    def _features(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=np.float32, reset=False))


class LinearHeadEstimator(HeadEstimator):
    """A head whose logits are linear in the features: ``X @ coef_ + intercept_``."""

    @property
    def coef_(self) -> np.ndarray:
        """Weights on raw features, shape (D, C) float32: the scaling is folded in."""
        return self.predictor_.weights

    @property
    def intercept_(self) -> np.ndarray:
        """Biases, shape (C,) float32."""
        return self.predictor_.bias

    def decision_function(self, X: Any) -> np.ndarray:
        """Return logits, shape (N, C); for two classes the log odds of the second, shape (N,)."""
        X = self._features(X)
        logits = self.predictor_.logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits


def _estimator(head: Head) -> Any:
    """Return the class of a head's estimators."""
    defaults = {option.name: option.default for option in head.options}
    if head.random:
        defaults["random_state"] = 0
    takes = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default)
        for name, default in defaults.items()
    ]
    signature = Signature([Parameter("self", Parameter.POSITIONAL_OR_KEYWORD), *takes])

    def store(self: Any, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        for name in defaults:
            setattr(self, name, given.arguments[name])

    store.__signature__ = signature  # type: ignore[attr-defined]
    linear = head.predictors == (LinearPredictor,)
    base = LinearHeadEstimator if linear else HeadEstimator
    body = {"__init__": store, "__doc__": _documentation(head), "__module__": __name__}
    return type(head.estimator, (base,), {**body, "head": head})


def _documentation(head: Head) -> str:
    lines = [f"{head.help[0].upper()}{head.help[1:]}.", "", head.notes]
    lines += ["", "Parameters", "----------"]
    for option in head.options:
        lines += [f"{option.name} : {_type(option)}, default={option.default!r}"]
        lines += [f"    {option.help}."]
    if head.random:
        lines += ["random_state : int, default=0"]
    lines += ["", "Attributes", "----------", "classes_ : ndarray of shape (C,)"]
    lines += ["n_features_in_ : int", "predictor_ : predictor", "    What a run keeps."]
    return "\n".join(lines)


def _type(option: Option) -> str:
    if option.name == "class_weight":
        return '{"balanced"}, dict or None'
    if option.choices:
        return f"{{{', '.join(map(repr, option.choices))}}}"
    return "sequence of int" if option.type is tuple else option.type.__name__


_NAMES = [head.estimator for head in _heads().values()]
globals().update({head.estimator: _estimator(head) for head in _heads().values()})


def __getattr__(name: str) -> Any:
    raise AttributeError(f"tlx.heads has no {name}. It has: {', '.join(_NAMES)}.")


def __dir__() -> list[str]:
    return _NAMES
