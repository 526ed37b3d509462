"""Logistic regression and discriminant analysis together."""

from __future__ import annotations

import numpy as np

import tlx
from tlx.classify.compare import compare_heads
from tlx.classify.curve import curve_of
from tlx.classify.fit import fit_head, fit_heads
from tlx.classify.heads.linear import LinearPredictor
from tlx.classify.heads.registry import fit_grid, get_head, heads
from tlx.classify.scoring.crossval import evaluate_head


def test_its_logits_are_the_mean_of_its_members(draw):
    X, y = draw(60, 3)
    own = {"C": 0.1, "shrinkage": 0.5}
    (point,) = fit_grid("vote", X, y, np.ones((1, 60)), **own)
    (first,) = fit_grid("logreg", X, y, np.ones((1, 60)), C=0.1)
    (second,) = fit_grid("lda", X, y, np.ones((1, 60)), shrinkage=0.5)
    expected = (first.head(0).logits(X) + second.head(0).logits(X)) / 2
    np.testing.assert_allclose(point.head(0).logits(X), expected, atol=1e-4)
    assert point.params == own


def test_it_visits_every_combination_of_a_grid(draw):
    X, y = draw(40)
    grid = {"C": [0.01, 0.1], "shrinkage": [0.9, 0.5]}
    visited = [point.params for point in fit_grid("vote", X, y, np.ones((1, 40)), grid)]
    assert len({tuple(params.values()) for params in visited}) == 4


def test_a_run_of_it_is_one_linear_layer_and_compares_and_refits(add_dataset, draw, place):
    add_dataset("d", *draw(90, 3))
    run = fit_head("auto", workspace=place.root)
    assert run.info.model == "vote"
    assert set(run.info.params) == {"C", "shrinkage"}
    assert isinstance(run.head(), LinearPredictor)
    fit_head("logreg", workspace=place.root, seed=1)
    refitted = compare_heads(workspace=place.root, refit=True).refitted
    assert list(refitted) == [run.id]


def test_auto_and_vote_are_one_run(add_dataset, draw, place):
    add_dataset("d", *draw(60, 3))
    fitted = fit_heads(["auto", "vote"], workspace=place.root)
    assert [run.info.model for run in fitted.runs] == ["vote"]


def test_auto_is_another_name_for_it():
    assert get_head("auto") is heads()["vote"]


def test_a_learning_curve_of_it(make_table, draw):
    curve = curve_of(make_table(*draw(60, 3)), "auto", repeats=2)
    assert curve.model == "vote"
    assert curve.points[-1].accuracy.value > 0.5


def test_a_parameter_of_a_member_can_be_fixed_and_the_other_is_searched(make_table, draw):
    found = evaluate_head(make_table(*draw(60, 3)), "vote", C=0.1)
    assert found.params["C"] == 0.1
    assert found.params["shrinkage"] in heads()["lda"].grid["shrinkage"]
    fixed = evaluate_head(make_table(*draw(60, 3)), "vote", C=0.1, shrinkage=0.5)
    assert fixed.protocol == "5-fold"


def test_its_estimator_takes_the_parameters_of_both(draw):
    X, y = draw(60, 3)
    head = tlx.heads.VoteHead(C=0.1, shrinkage=0.2).fit(X, y)
    assert head.coef_.shape == (X.shape[1], 3)
