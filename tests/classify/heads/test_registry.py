"""Paths: their grids, their options, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.heads.registry import GRIDS, OPTIONS, class_weights, fit_path, grid_of, points
from tlx.errors import FitError, UnknownNameError

SEARCHED = [name for name in GRIDS if name != "dense"]


@pytest.mark.parametrize("name", SEARCHED)
def test_a_path_visits_every_point_of_its_grid_in_order(name, draw):
    """The order is that of the grid: the strongest regularisation first."""
    X, y = draw(40)
    ((key, values),) = GRIDS[name].items()
    visited = [step.params for step in fit_path(name, X, y, np.ones((1, 40)))]
    assert visited == [{key: pytest.approx(value)} for value in values]


@pytest.mark.parametrize("name", SEARCHED)
def test_a_grid_of_ones_own(name, draw):
    X, y = draw(40)
    ((key, values),) = GRIDS[name].items()
    (step,) = fit_path(name, X, y, np.ones((1, 40)), {key: values[2:3]})
    assert step.params == {key: pytest.approx(values[2])}


def test_a_fixed_strength_replaces_the_grid():
    assert grid_of("svm", 0.5) == {"C": [0.5]}
    assert points(grid_of("svm", 0.5)) == 1
    assert points(grid_of("dense")) == 1
    assert points(GRIDS["lda"]) == 12


def test_every_model_has_its_options():
    assert OPTIONS.keys() == GRIDS.keys()


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("svm", {"C": [0.0]}),
        ("ridge", {"alpha": [-1.0]}),
        ("lda", {"shrinkage": [1.5]}),
        ("knn", {"k": [0]}),
        ("knn", {"k": [2.5]}),
        ("centroid", {"temperature": [float("inf")]}),
        ("ridge", {"C": [1.0]}),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(name, grid, draw):
    X, y = draw(20)
    with pytest.raises(FitError, match=next(iter(grid))):
        list(fit_path(name, X, y, np.ones((1, 20)), grid))


def test_an_unknown_model_is_named():
    with pytest.raises(UnknownNameError, match="unknown model: 'svn'"):
        next(fit_path("svn", np.ones((2, 2)), np.arange(2), np.ones((1, 2))))
    with pytest.raises(UnknownNameError, match="Did you mean svm"):
        grid_of("svn")


def test_an_option_of_another_head_is_refused(draw):
    X, y = draw(20)
    with pytest.raises(FitError, match=r"svm has no option 'hidden'.\nHeads that have it: dense"):
        next(fit_path("svm", X, y, np.ones((1, 20)), hidden=[8]))
    with pytest.raises(FitError, match="centroid has no option 'class_weight'"):
        next(fit_path("centroid", X, y, np.ones((1, 20)), class_weight="balanced"))
    with pytest.raises(FitError, match="knn has no option 'C'"):
        grid_of("knn", 1.0)


@pytest.mark.parametrize("name", SEARCHED)
def test_features_that_are_not_finite_are_refused(name, draw):
    X, y = draw(20)
    for value in (np.nan, np.inf, -np.inf):
        X[3, 2] = value
        with pytest.raises(FitError, match="not finite"):
            next(fit_path(name, X, y, np.ones((1, 20))))


@pytest.mark.parametrize("name", SEARCHED)
def test_a_problem_with_one_class_is_refused(name, draw):
    X, y = draw(20)
    weights = np.ones((2, 20))
    weights[1, y == 0] = 0
    with pytest.raises(FitError, match="problem 1 have one class only"):
        next(fit_path(name, X, y, weights))


@pytest.mark.parametrize("name", SEARCHED)
def test_a_class_that_a_problem_lacks_gets_next_to_nothing(name, draw):
    X, y = draw(60, 3)
    weights = np.ones((2, 60))
    weights[0, y == 2] = 0
    for step in fit_path(name, X, y, weights):
        p = step.proba(0, np.arange(60))
        assert np.isfinite(p).all()
        assert (p[y != 2].argmax(axis=1) != 2).all()


def test_balanced_weights_give_each_class_the_same():
    y = np.array([0, 0, 0, 1, 2, 2])
    w = class_weights(y, "balanced")
    np.testing.assert_allclose(np.bincount(y, w), 2)
    with pytest.raises(FitError, match="unknown class weight: 'even'"):
        class_weights(y, "even")


def test_balanced_weights_do_not_count_what_is_held_out():
    y = np.array([0, 0, 0, 1, 2, 2])
    taken = np.array([True, False, False, True, False, False])
    np.testing.assert_allclose(class_weights(y, "balanced", taken)[[0, 3]], 1)


def test_light_heads_import_neither_scikit_learn_nor_tensorflow(python):
    python(
        """
import sys
import numpy as np
from tlx.classify.heads.registry import fit_path
X = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
for name in ("logreg", "svm", "ridge", "lda", "centroid", "knn"):
    list(fit_path(name, X, np.arange(20) % 2, np.ones((1, 20))))
assert not {"sklearn", "tensorflow", "keras"} & set(sys.modules)
"""
    )
