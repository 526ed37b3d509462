"""Areas under ROC curves: intervals that hold with a handful of positives."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.scoring.roc import allow_for_pooling, mean_area, roc_auc


def held(truth, sizes, draw, times=100):
    """Return how many of `times` samples have an interval that holds the truth."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    count = 0
    for seed in range(times):
        metric = roc_auc(y, draw(np.random.default_rng(seed), y), np.arange(len(y)))
        assert metric is not None
        count += metric.low <= truth <= metric.high
    return count


def normal(rng, y):
    """Scores one apart by sqrt(2): the area is the normal distribution's share below 1."""
    score = np.sqrt(2) * y + rng.standard_normal(len(y))
    return np.column_stack([-score, score])


@pytest.mark.parametrize("sizes", [(297, 3), (45, 5), (40, 40)])
def test_the_interval_holds_the_truth(sizes):
    """DeLong's variance alone held it in 74% of samples of three positives."""
    assert held(0.8413447, sizes, normal) >= 92


def test_the_mean_over_classes_holds_too():
    def draw(rng, y):
        return np.sqrt(2) * np.eye(4)[y] + rng.standard_normal((len(y), 4))

    assert held(0.8413447, (100, 20, 10, 5), draw) >= 92


def test_copies_in_groups_change_nothing():
    y = np.arange(60) % 2
    p = normal(np.random.default_rng(0), y)
    alone = roc_auc(y, p, np.arange(60))
    copied = roc_auc(np.tile(y, 3), np.tile(p, (3, 1)), np.tile(np.arange(60), 3))
    assert alone is not None
    assert copied is not None
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))


def test_one_class_has_no_area():
    assert roc_auc(np.zeros(3, int), np.full((3, 2), 0.5), np.arange(3)) is None
    assert mean_area(np.zeros(3, int), np.full((3, 2), 0.5)) is None


def test_a_reversed_order_has_a_mirrored_interval():
    y = np.repeat([0, 1], [30, 6])
    p = normal(np.random.default_rng(1), y)
    a, b = roc_auc(y, p, np.arange(36)), roc_auc(y, -p, np.arange(36))
    assert a is not None
    assert b is not None
    assert (1 - b.high, 1 - b.low) == pytest.approx((a.low, a.high))


def test_folds_that_differ_in_level_raise_the_upper_limit_alone():
    fold, y = np.arange(100) % 2, np.arange(100) // 2 % 2
    p = normal(np.random.default_rng(0), y)
    shifted = p + 5 * fold[:, None] * np.array([-1, 1])  # ranks of the two folds are not one order
    pooled = roc_auc(y, shifted, np.arange(100))
    assert pooled is not None
    found = allow_for_pooling(pooled, y, shifted, fold)
    assert (found.value, found.low) == (pooled.value, pooled.low)
    within = np.mean([roc_auc(y[fold == k], p[fold == k], np.arange(50)).value for k in (0, 1)])  # pyright: ignore[reportOptionalMemberAccess]
    assert found.high == pytest.approx(min(1, pooled.high + within - pooled.value))
    same = allow_for_pooling(pooled, y, shifted, np.zeros(100, int))
    assert same == pooled
