"""Which rows are learned from, scored, and used to choose."""

import numpy as np
import pytest

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
