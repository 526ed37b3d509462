"""Log loss of few images: the mistakes that they do not show count too."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.scoring.log_loss import image_loss, log_loss


def population(N, apart, seed=0, in_groups_of=1):
    """Return classes and calibrated probabilities of two classes; a group has an offset of its own.

    The larger `apart`, the easier.
    """
    rng = np.random.default_rng(seed)
    group = np.arange(N) // in_groups_of
    y = rng.integers(0, 2, N)[group * in_groups_of]
    offset = rng.normal(0, 1.0, N)[group] if in_groups_of > 1 else 0.0
    score = apart * (2 * y - 1) + offset + rng.standard_normal(N)
    # The log odds of a normal score; the offset adds to its variance.
    p = 1 / (1 + np.exp(-2 * apart * score / (2.0 if in_groups_of > 1 else 1.0)))
    return y, np.column_stack([1 - p, p])


@pytest.mark.parametrize(
    ("apart", "m", "in_groups_of"), [(2.0, 50, 1), (2.0, 200, 1), (1.5, 50, 5)]
)
def test_the_interval_holds_the_truth_on_easy_data(apart, m, in_groups_of):
    """The spread of the losses held it in 76%, 88% and 78%."""
    y, p = population(100_000, apart, in_groups_of=in_groups_of)
    truth = image_loss(p[np.arange(len(y)), y]).mean()
    group, held = np.arange(m) // in_groups_of, 0
    for start in range(0, 100 * m, m):
        metric = log_loss(y[start : start + m], p[start : start + m], group)
        held += metric.low <= truth <= metric.high
    assert held >= 92


def test_without_a_mistake_the_limit_allows_for_some():
    y, p = np.zeros(50, int), np.tile([0.99, 0.01], (50, 1))
    metric = log_loss(y, p, np.arange(50))
    # 7% wrong at most by Wilson (and a little more by Student), each with a loss of -log 0.01.
    assert metric.high == pytest.approx(metric.value + 0.0713 * (4.605 - 0.01), rel=0.06)
    assert 0 < metric.low <= metric.value


def test_all_wrong_and_one_group_have_intervals():
    p = np.tile([0.9, 0.1], (20, 1))
    metric = log_loss(np.ones(20, int), p, np.arange(20))
    assert metric.value == pytest.approx(-np.log(0.1))
    assert metric.low < metric.value <= metric.high
    alone = log_loss(np.zeros(20, int), p, np.zeros(20, int))
    assert alone.low == 0
    assert alone.high > 36


def test_scattered_mistakes_of_groups_tell_more_than_crowded_ones():
    p = np.tile([0.9, 0.1], (100, 1))
    group = np.arange(100) // 5
    crowded, scattered = np.zeros(100, int), np.zeros(100, int)
    crowded[:10], scattered[::10] = 1, 1
    a, b = log_loss(crowded, p, group), log_loss(scattered, p, group)
    assert a.value == pytest.approx(b.value)
    assert a.high - a.low > 1.5 * (b.high - b.low)
