"""The registry of heads, and grids: their options, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from tlx.classify.heads.registry import fit_grid, get_head, heads, points, resolve
from tlx.errors import FitError, UnknownNameError

SEARCHED = [head.name for head in heads().values() if head.grid]
ONE = [head.name for head in heads().values() if len(head.grid) == 1]


@pytest.mark.parametrize("name", ONE)
def test_a_path_visits_every_point_of_its_grid_in_order(name, draw):
    """The order is that of the grid: the strongest regularisation first."""
    X, y = draw(40)
    ((key, values),) = heads()[name].grid.items()
    visited = [step.params for step in fit_grid(name, X, y, np.ones((1, 40)))]
    assert visited == [{key: pytest.approx(value)} for value in values]


@pytest.mark.parametrize("name", ONE)
def test_a_grid_of_ones_own(name, draw):
    X, y = draw(40)
    ((key, values),) = heads()[name].grid.items()
    (step,) = fit_grid(name, X, y, np.ones((1, 40)), {key: values[2:3]})
    assert step.params == {key: pytest.approx(values[2])}


def test_an_option_that_is_searched_can_be_fixed():
    assert resolve("svm", {"C": 0.5}) == ({"C": [0.5]}, {"class_weight": None})
    assert resolve("knn", {"k": 3})[0] == {"k": [3]}
    assert points(resolve("svm", {"C": 0.5})[0]) == 1


def test_options_have_their_defaults():
    grid, options = resolve("dense", {"hidden": [8]})
    assert points(grid) == 1
    assert options == {"hidden": [8], "dropout": 0.0, "output": "softmax", "class_weight": None}
    assert points(resolve("lda", {})[0]) == 12


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
        list(fit_grid(name, X, y, np.ones((1, 20)), grid))


def test_an_unknown_model_is_named():
    with pytest.raises(UnknownNameError, match="unknown model: 'svn'"):
        next(fit_grid("svn", np.ones((2, 2)), np.arange(2), np.ones((1, 2))))
    with pytest.raises(UnknownNameError, match="Did you mean svm"):
        get_head("svn")


def test_an_option_of_another_head_is_refused(draw):
    X, y = draw(20)
    with pytest.raises(FitError, match=r"svm has no option 'hidden'.\nHeads that have it: dense"):
        next(fit_grid("svm", X, y, np.ones((1, 20)), hidden=[8]))
    with pytest.raises(FitError, match="centroid has no option 'class_weight'"):
        next(fit_grid("centroid", X, y, np.ones((1, 20)), class_weight="balanced"))
    with pytest.raises(FitError, match=r"knn has no option 'C'\.\nHeads that have it: logreg, svm"):
        resolve("knn", {"C": 1.0})
    with pytest.raises(FitError, match=r"logreg has no option 'c'\.\nIt has: C, "):
        resolve("logreg", {"c": 1.0})


def test_a_class_instead_of_a_classifier_is_told_apart():
    with pytest.raises(FitError, match=r"GaussianNB is a class\.\nPass GaussianNB\(\)\."):
        get_head(GaussianNB)


@pytest.mark.parametrize("name", SEARCHED)
def test_features_that_are_not_finite_are_refused(name, draw):
    X, y = draw(20)
    for value in (np.nan, np.inf, -np.inf):
        X[3, 2] = value
        with pytest.raises(FitError, match="not finite"):
            next(fit_grid(name, X, y, np.ones((1, 20))))


@pytest.mark.parametrize("name", SEARCHED)
def test_a_problem_with_one_class_is_refused(name, draw):
    X, y = draw(20)
    weights = np.ones((2, 20))
    weights[1, y == 0] = 0
    with pytest.raises(FitError, match="problem 1 have one class only"):
        next(fit_grid(name, X, y, weights))


@pytest.mark.parametrize("name", SEARCHED)
def test_a_class_that_a_problem_lacks_gets_next_to_nothing(name, draw):
    X, y = draw(60, 3)
    weights = np.ones((2, 60))
    weights[0, y == 2] = 0
    for step in fit_grid(name, X, y, weights):
        p = step.proba(0, np.arange(60))
        assert np.isfinite(p).all()
        assert (p[y != 2].argmax(axis=1) != 2).all()


def test_light_heads_import_neither_scikit_learn_nor_tensorflow(python):
    python(
        """
import sys
import numpy as np
from tlx.classify.heads.registry import fit_grid
X = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
for name in ("logreg", "svm", "ridge", "lda", "centroid", "knn"):
    list(fit_grid(name, X, np.arange(20) % 2, np.ones((1, 20))))
assert not {"sklearn", "tensorflow", "keras"} & set(sys.modules)
"""
    )
