"""Classifiers of scikit-learn's kind as heads."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from tlx.classify.heads.external import head_of, is_estimator
from tlx.classify.heads.registry import fit_grid, heads
from tlx.errors import FitError


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingClassifier(max_iter=5, random_state=0),
        RandomForestClassifier(5, random_state=0),
        SVC(),
        LinearSVC(),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_probabilities_are_those_of_a_head(estimator, classes, draw):
    X, y = draw(60, classes)
    weights = np.ones((2, 60))
    weights[0, :20] = 0
    (point,) = fit_grid(estimator, X, y, weights)
    p = point.proba(0, np.arange(20))
    assert p.shape == (20, classes)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p.argmax(axis=1) == y[:20]).mean() > 1.1 / classes
    head = point.head(1)
    assert (head.n_features, head.n_classes) == (X.shape[1], classes)
    assert head.parts() == {}
    assert not hasattr(estimator, "classes_")  # a clone was fitted


@pytest.mark.parametrize("estimator", [LogisticRegression(), LinearSVC()])
def test_a_class_that_a_problem_lacks_has_no_probability(estimator, draw):
    X, y = draw(60, 3)
    (point,) = fit_grid(estimator, X, y, (y != 1).astype(float)[None])
    p = point.proba(0, np.arange(60))
    assert (p[:, 1] == 0).all()
    assert (p.argmax(axis=1) == y)[y != 1].mean() > 0.6


def test_it_is_no_head_of_the_registry():
    assert head_of(SVC()).name == "SVC"
    assert "SVC" not in heads()


def test_what_is_an_estimator():
    assert is_estimator(SVC())
    assert not is_estimator(SVC)
    assert not is_estimator("svm")


def test_without_probabilities_or_decisions_it_is_refused():
    with pytest.raises(FitError, match="KMeans has neither predict_proba nor decision_function"):
        head_of(KMeans())


def test_its_own_error_is_told(draw):
    X, y = draw(20)
    with pytest.raises(FitError, match=r"SVC could not be fitted: .*'kernel'"):
        next(fit_grid(SVC(kernel="none"), X, y, np.ones((1, 20))))


def test_it_takes_no_options_of_heads(draw):
    X, y = draw(20)
    with pytest.raises(FitError, match="SVC has no option 'C'"):
        next(fit_grid(SVC(), X, y, np.ones((1, 20)), C=1.0))
