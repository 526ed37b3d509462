"""Heads as runs: one, several, few-shot, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from tlx.classify.compare import compare_heads
from tlx.classify.fit import evaluate_features, fit_head, fit_heads
from tlx.classify.runs.best import load_run
from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.scoring.plan import make_plan
from tlx.errors import DataError, FitError, UnknownNameError

LIGHT = ["logreg", "svm", "lda", "ridge", "knn", "centroid"]


@pytest.fixture
def place(add_dataset, draw):
    X, y = draw(90, 3)
    return add_dataset("drawn", X, y)


@pytest.mark.parametrize("model", LIGHT)
def test_a_run_predicts_what_its_head_did(model, make_table, place, draw):
    """The kept head, calibrated, saved and read again, on new features."""
    from tlx.classify.table import load_table

    new, _ = draw(40, 3, seed=1)
    run = fit_head(model, workspace=place.root)
    expected = evaluate_head(load_table(place), model).head.predict_proba(new)
    again = load_run(run.id, place.root).head()
    np.testing.assert_allclose(again.predict_proba(new), expected, atol=1e-6)
    assert run.info.model == model
    assert run.metrics["accuracy"].value > 0.4


def test_several_heads_are_ranked(place):
    fitted = fit_heads(LIGHT, workspace=place.root)
    assert {run.info.model for run in fitted.runs} == set(LIGHT)
    accuracy = [run.metrics["accuracy"].value for run in fitted.runs]
    assert accuracy == sorted(accuracy, reverse=True)
    assert not fitted.failures
    assert fitted.seconds >= sum(run.info.seconds for run in fitted.runs)


def test_the_best_of_several_heads_is_told_without_what_choosing_it_adds(place):
    fitted = fit_heads(LIGHT, workspace=place.root)
    told = fitted.runs[0].metrics["accuracy"]
    assert told.value - 0.05 < fitted.best_corrected.value <= told.value
    assert (
        fit_heads("lda", workspace=place.root).best_corrected
        == load_run("lda-2", place.root).metrics["accuracy"]
    )


def test_a_head_that_fails_does_not_stop_the_others(place):
    """A sigmoid is for two classes, and there are three."""
    with pytest.raises(FitError, match="knn has no option 'output'"):
        fit_heads(["dense", "knn"], workspace=place.root, output="sigmoid")
    fitted = fit_heads("all", workspace=place.root, output="sigmoid", max_per_class=5, repeats=1)
    assert list(fitted.failures) == ["dense"]
    assert "a sigmoid output for 3 classes" in str(fitted.failures["dense"])
    assert {run.info.model for run in fitted.runs} == set(LIGHT)


def test_if_all_fail_the_first_error_is_raised(place):
    with pytest.raises(DataError, match="fewer than the 1000 folds"):
        fit_heads(["logreg", "svm"], workspace=place.root, folds=1000)


def test_a_strength_that_makes_no_sense_is_refused(place):
    with pytest.raises(FitError, match="logreg cannot have C = -1"):
        fit_heads(["logreg", "svm"], workspace=place.root, C=-1.0)


def test_names_of_runs(place):
    assert fit_head("knn", workspace=place.root, name="mine").id == "mine"
    fitted = fit_heads(["knn", "centroid"], workspace=place.root, name="two")
    assert {run.id for run in fitted.runs} == {"two-knn", "two-centroid"}


def test_a_fixed_strength_is_not_searched_for(place):
    run = fit_head("svm", workspace=place.root, C=0.01)
    assert run.info.params["C"] == 0.01
    assert run.info.protocol == "5-fold"
    assert run.info.recipe.fixed == {"C": 0.01}
    assert fit_head("knn", workspace=place.root, k=3).info.params["k"] == 3


def test_options_go_to_the_heads_that_have_them(place):
    with pytest.raises(FitError, match="knn has no option 'C'"):
        fit_heads(["logreg", "knn"], workspace=place.root, C=0.1)
    with pytest.raises(UnknownNameError, match="unknown model: 'knm'"):
        fit_heads(["logreg", "knm"], workspace=place.root)


# Few-shot


def test_few_images_are_learned_from_and_all_are_scored(make_table, draw):
    X, y = draw(90, 3)
    table = make_table(X, y)
    plan = make_plan(table, max_per_class=4)
    assert sum(len(plan.fits[k].held_out) for k in plan.scored) == 90
    for k in [*plan.scored, plan.kept]:
        fit = plan.fits[k]
        assert np.bincount(y[fit.train]).tolist() == [4, 4, 4]
        assert not set(fit.train) & set(fit.held_out)
        for inner in fit.inner:  # parameters are chosen with no more images
            used = {*plan.fits[inner].train, *plan.fits[inner].held_out}
            assert used == set(fit.train)


def test_draws_differ_and_folds_do_not(make_table, draw):
    table = make_table(*draw(90, 3))
    a, b = (make_plan(table, max_per_class=4, draw=d) for d in (0, 1))
    for k in a.scored:
        np.testing.assert_array_equal(a.fits[k].held_out, b.fits[k].held_out)
        assert set(a.fits[k].train) != set(b.fits[k].train)


def test_metrics_are_means_over_draws(make_table, draw):
    table = make_table(*draw(90, 3))
    singles = [
        evaluate_head(table, "centroid", max_per_class=4, repeats=1).metrics["accuracy"].value
    ]
    three = evaluate_head(table, "centroid", max_per_class=4, repeats=3)
    assert three.protocol == "nested 5-fold, 4 a class, mean of 3 draws"
    assert three.recipe.options == {"max_per_class": 4, "repeats": 3}
    assert abs(three.metrics["accuracy"].value - singles[0]) < 0.3
    assert len(three.rows) == 90


def test_one_image_a_class_can_be_learned_from(make_table, draw):
    table = make_table(*draw(60, 2, spread=0.5))
    for model in LIGHT:
        found = evaluate_head(table, model, max_per_class=1, repeats=2)
        assert found.metrics["accuracy"].value > 0.8, model


def test_views_of_an_image_come_with_it(make_table, draw):
    X, y = draw(60, 2)
    table = make_table(np.concatenate([X, X + 0.1]), np.concatenate([y, y]))
    table.view[60:] = 1
    table.groups[:] = np.tile(np.arange(60), 2)
    table.paths[60:] = table.paths[:60]
    plan = make_plan(table, max_per_class=3)
    train = plan.fits[plan.kept].train
    assert len(train) == 12
    assert set(train[train >= 60] - 60) == set(train[train < 60])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 3}, "3 repeats of the same"),
        ({"max_per_class": 0}, "0 images a class"),
        ({"max_per_class": 2, "repeats": 0}, "0 repeats"),
    ],
)
def test_few_shot_options_that_make_no_sense(options, message, place):
    with pytest.raises(DataError, match=message):
        fit_head("knn", workspace=place.root, **options)


def test_all_beside_an_unknown_head_is_refused_before_anything_is_fitted(place):
    with pytest.raises(UnknownNameError, match="unknown model: 'foo'"):
        fit_heads(["all", "foo"], workspace=place.root)
    assert not place.runs.exists()


def test_a_head_without_enough_memory_says_so_in_words(place, monkeypatch):
    from tlx.classify import fit

    def evaluate_head(table, model, **options):
        if model == "knn":
            raise MemoryError
        return evaluate(table, model, **options)

    evaluate = fit.evaluate_head
    monkeypatch.setattr(fit, "evaluate_head", evaluate_head)
    failures = fit_heads(["knn", "centroid"], workspace=place.root).failures
    assert failures["knn"].cause == "there is not enough memory to fit it."


# Classifiers of scikit-learn, and arrays of one's own


def test_a_classifier_of_scikit_learn_is_scored_like_a_head(place):
    ours = fit_head("lda", workspace=place.root)
    run = fit_head(RandomForestClassifier(10, random_state=0), workspace=place.root)
    assert run.id == "RandomForestClassifier-1"
    assert run.metrics.keys() == ours.metrics.keys()
    assert run.info.protocol == "5-fold"
    assert load_run(run.id, place.root).predictions().label.tolist()
    rows = compare_heads(workspace=place.root).rows
    assert {row.run.id for row in rows} == {ours.id, run.id}


def test_what_it_learned_is_not_saved_and_that_is_said(place):
    run = fit_head(DecisionTreeClassifier(), workspace=place.root, name="tree")
    assert not run.can_predict
    with pytest.raises(DataError, match=r"run tree keeps its predictions alone.*DecisionTree"):
        load_run("tree", place.root).head()
    with pytest.raises(DataError, match="can be used for this"):
        load_run("best", place.root)


def test_what_is_no_classifier_is_refused(place):
    with pytest.raises(FitError, match="3 is no head"):
        fit_head(3, workspace=place.root)


def test_arrays_of_ones_own_are_scored_like_a_data_set(make_table, draw):
    X, y = draw(90, 3)
    names = np.array(["ant", "bee", "cat"])[y]
    mine, theirs = evaluate_features(X, names), evaluate_head(make_table(X, y))
    assert mine.metrics == theirs.metrics
    np.testing.assert_array_equal(mine.probabilities, theirs.probabilities)
    assert len(repr(mine)) < 300
    assert evaluate_features(X, y, model=DecisionTreeClassifier()).metrics["accuracy"].value > 0.4


def test_rows_of_one_group_stay_in_one_fold(draw):
    X, y = draw(60)
    groups = np.arange(60) // 2 // 2
    fold = evaluate_features(X, y, groups, "centroid").fold
    assert all(len(set(fold[groups == g])) == 1 for g in groups)
    copies = np.repeat(X[:30], 2, axis=0)
    fold = evaluate_features(copies, np.repeat(y[:30], 2), model="centroid").fold
    assert (fold[::2] == fold[1::2]).all()


def test_arrays_that_do_not_fit_are_refused(draw):
    X, y = draw(20)
    with pytest.raises(DataError, match=r"X of shape \(20, 8\) and y of shape \(19,\)"):
        evaluate_features(X, y[1:])
    with pytest.raises(DataError, match=r"groups of shape \(3,\) for 20 rows"):
        evaluate_features(X, y, [1, 2, 3])


class Heard:
    """Somebody who listens to progress."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def __call__(self, done: float, total: float) -> None:
        self.shares.append(done / total)

    def check(self, least: int) -> None:
        assert len(self.shares) >= least
        assert self.shares == sorted(self.shares)
        assert self.shares[-1] == pytest.approx(1)


@pytest.mark.parametrize("model", LIGHT)
def test_a_fit_tells_how_far_it_is(model, place):
    heard = Heard()
    fit_head(model, workspace=place.root, progress=heard)
    heard.check(least=7)


def test_several_heads_and_draws_are_one_piece_of_work(place):
    heard = Heard()
    fit_heads(["centroid", "lda"], workspace=place.root, max_per_class=5, repeats=3, progress=heard)
    heard.check(least=30)


def test_text_among_the_features_is_refused():
    with pytest.raises(DataError, match=r"X is no table of numbers: .*'a.png'"):
        evaluate_features([["a.png", 1.0], ["b.png", 2.0]], [0, 1])
