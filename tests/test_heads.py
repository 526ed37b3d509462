"""Heads as scikit-learn estimators; what they compute is in `tests/classify/heads`."""

from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import tlx
from tlx.classify.heads.registry import heads

CLASSES = {name: getattr(tlx.heads, head.estimator) for name, head in heads().items()}
X = np.random.default_rng(0).normal(size=(30, 4)) + np.arange(30)[:, None] % 2
Y = np.where(np.arange(30) % 2, "dog", "cat")


@parametrize_with_checks(
    [made() for name, made in CLASSES.items() if name != "dense"],
    expected_failed_checks=lambda head: {
        "check_sample_weight_equivalence_on_dense_data": "features are scaled by each image "
        "once, whatever its weight, and neighbours are counted in images",
    },
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", CLASSES)
def test_parameters_are_the_options_of_the_head(name):
    made, head = CLASSES[name], heads()[name]
    named = [option.name for option in head.options] + ["random_state"] * head.random
    assert list(inspect.signature(made).parameters) == named
    assert list(made().get_params()) == sorted(named)
    for option in head.options:
        assert getattr(made(), option.name) == option.default
        assert f"{option.name} : " in made.__doc__
    assert head.notes in made.__doc__


def test_parameters_may_stand_in_their_places():
    assert tlx.heads.SVMHead(0.5, None, 3).get_params() == {
        "C": 0.5,
        "class_weight": None,
        "random_state": 3,
    }
    with pytest.raises(TypeError, match="unexpected keyword argument 'k'"):
        tlx.heads.SVMHead(k=3)


def test_a_repr_shows_what_was_changed():
    assert repr(tlx.heads.LogisticHead()) == "LogisticHead()"
    assert repr(tlx.heads.KNNHead(k=3).fit(X, Y)) == "KNNHead(k=3)"


@pytest.mark.parametrize("name", ["logreg", "knn"])
def test_a_fitted_head_is_pickled_and_cloned(name):
    head = CLASSES[name]().fit(X, Y)
    again = pickle.loads(pickle.dumps(head))
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
    assert not hasattr(clone(head), "predictor_")


def test_it_can_be_searched():
    search = GridSearchCV(tlx.heads.LDAHead(), {"shrinkage": [0.1, 0.9]}, cv=3).fit(X, Y)
    assert set(search.best_params_) == {"shrinkage"}


def test_weights_by_class_may_be_a_dict():
    even, odd = (
        tlx.heads.LogisticHead(class_weight=weights).fit(X, Y).predict_proba(X)[:, 1].mean()
        for weights in (None, {"cat": 1, "dog": 5})
    )
    assert odd > even


def test_they_can_be_imported_by_name():
    from tlx.heads import RidgeHead

    assert RidgeHead is tlx.heads.RidgeHead
    assert "RidgeHead" in dir(tlx.heads)
    with pytest.raises(AttributeError, match=r"has no ForestHead\. It has: CentroidHead"):
        _ = tlx.heads.ForestHead
