"""Which rows are learned from, scored, and used to choose."""

import numpy as np
import pytest

from tlx.classify.scoring import plan as plan_module
from tlx.classify.scoring.plan import make_plan
from tlx.errors import DataError, FitError


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [20, 25, 30])
    return random.standard_normal((75, 6)) + 1.2 * np.eye(6)[y], y


def test_nested_folds_score_each_image_once_and_never_learn_from_it(make_table, data):
    plan = make_plan(make_table(*data), n_folds=5)
    scored = np.concatenate([plan.fits[k].held_out for k in plan.scored])
    assert sorted(scored) == list(range(75))
    for fit in plan.fits:
        assert not set(fit.train) & set(fit.held_out)


def test_inner_folds_never_see_the_outer_fold(make_table, data):
    plan = make_plan(make_table(*data), n_folds=5)
    for k in plan.scored:
        outer = set(plan.fits[k].held_out)
        for i in plan.fits[k].inner:
            inner = plan.fits[i]
            assert not outer & (set(inner.train) | set(inner.held_out))


def test_the_kept_head_learns_from_everything_and_is_chosen_by_the_outer_folds(make_table, data):
    plan = make_plan(make_table(*data), n_folds=5)
    assert len(plan.fits[plan.kept].train) == 75
    assert plan.fits[plan.kept].inner == plan.scored


def test_a_scored_head_is_calibrated_by_its_inner_folds_the_kept_one_by_all_it_may(
    make_table, data
):
    plan = make_plan(make_table(*data), n_folds=5)
    for k in plan.scored:
        assert plan.calibrating(k) == plan.fits[k].inner
    assert plan.calibrating(plan.kept) == plan.scored
    split = np.where(np.arange(75) % 3 == 0, "validation", "train")
    plan = make_plan(make_table(*data, split=split), n_folds=5)
    assert plan.calibrating(plan.kept) == [*plan.fits[plan.kept].inner, plan.kept]


def test_a_class_that_only_validation_has_is_refused_by_name(make_table, data):
    split = np.where(data[1] == 2, "validation", "train")
    with pytest.raises(DataError, match="has classes that train lacks: 'class 2'"):
        make_plan(make_table(*data, split=split))


def test_one_class_only_is_refused(make_table):
    with pytest.raises(FitError, match="has one class only: 'class 0'"):
        make_plan(make_table(np.zeros((5, 2)), np.zeros(5, int)))


def test_groups_are_never_torn_apart(make_table, data):
    groups = np.arange(75) // 3
    plan = make_plan(make_table(*data, groups=groups), n_folds=4)
    for fit in plan.fits:
        assert not set(groups[fit.train]) & set(groups[fit.held_out])


def test_of_many_images_one_part_chooses(make_table, draw, monkeypatch):
    monkeypatch.setattr(plan_module, "ONE_PART", 30)
    X, y = draw(60)
    split = np.array(["train"] * 40 + ["validation"] * 20)
    plan = make_plan(make_table(X, y, split=split))
    assert plan.protocol == "validation split, parameters chosen on one held-out part"
    (inner,) = plan.fits[plan.kept].inner
    held = plan.fits[inner].held_out
    assert len(held) == 8
    assert sorted([*held, *plan.fits[inner].train]) == list(range(40))


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_so_does_the_next_fold_which_the_fold_scored_has_no_say_in(
    n_folds, make_table, draw, monkeypatch
):
    monkeypatch.setattr(plan_module, "ONE_PART", 20)
    X, y = draw(60)
    groups = np.arange(60) // 2
    plan = make_plan(make_table(X, y, groups=groups), n_folds)
    assert plan.protocol == f"nested {n_folds}-fold, parameters chosen on one held-out part"
    scored = np.sort(np.concatenate([plan.fits[k].held_out for k in plan.scored]))
    assert np.array_equal(scored, np.arange(60))
    for k in plan.scored:
        (inner,) = plan.fits[k].inner
        used = np.concatenate([plan.fits[inner].train, plan.fits[inner].held_out])
        assert len(plan.fits[inner].train)
        assert len(plan.fits[inner].held_out)
        assert np.array_equal(np.sort(used), plan.fits[k].train)
        apart = groups[plan.fits[inner].train], groups[plan.fits[inner].held_out]
        assert not np.intersect1d(*apart).size
    assert plan.fits[plan.kept].inner == plan.scored
