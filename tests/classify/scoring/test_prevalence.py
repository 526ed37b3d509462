"""Shares of classes: moved, estimated without labels, and tested with them."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.scoring.prevalence import (
    estimate_prior,
    label_weights,
    move_prior,
    prevalence_shift,
)


def images(rng, share, n):
    """Return calibrated probabilities (n, C) of an even prior, and classes as frequent as told."""
    C = len(share)
    y = rng.choice(C, n, p=share)
    x = 1.5 * np.eye(C)[y] + rng.normal(size=(n, C))
    p = np.exp(1.5 * x)
    return p / p.sum(axis=1, keepdims=True), y


EVEN = np.array([0.5, 0.5])


def test_moving_is_bayes_rule_and_moving_back_undoes_it() -> None:
    p, _ = images(np.random.default_rng(0), [0.3, 0.3, 0.4], 50)
    old, new = np.array([0.3, 0.3, 0.4]), np.array([0.01, 0.09, 0.9])
    moved = move_prior(p, old, new)
    expected = p * new / old
    np.testing.assert_allclose(moved, expected / expected.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(move_prior(moved, new, old), p, atol=1e-12)


def test_a_class_that_was_not_learned_stays_impossible() -> None:
    p, old = np.array([[0.6, 0.4, 0.0]]), np.array([0.5, 0.5, 0.0])
    assert move_prior(p, old, np.array([0.2, 0.3, 0.5]))[0, 2] == 0


def test_moved_probabilities_have_the_smaller_loss() -> None:
    new = np.array([0.05, 0.95])
    p, y = images(np.random.default_rng(1), new, 4000)
    loss = [-np.log(q[np.arange(len(y)), y]).mean() for q in (p, move_prior(p, EVEN, new))]
    assert loss[1] < 0.5 * loss[0]


def test_the_estimate_is_the_truth_within_its_interval() -> None:
    rng = np.random.default_rng(2)
    truth = np.array([0.1, 0.2, 0.7])
    even = np.full(3, 1 / 3)
    found = estimate_prior(images(rng, truth, 2000)[0], even, *images(rng, even, 600))
    assert found.moved
    assert found.n == 2000
    np.testing.assert_allclose(found.share.sum(), 1)
    assert ((found.low <= truth) & (truth <= found.high)).all()
    assert ((found.low >= 0) & (found.high <= 1)).all()


def test_a_class_that_is_not_there_has_an_interval_that_begins_at_nothing() -> None:
    rng = np.random.default_rng(3)
    found = estimate_prior(images(rng, [0.0, 1.0], 300)[0], EVEN, *images(rng, EVEN, 300))
    assert found.low[0] == 0
    assert found.share[0] < found.high[0] < 0.1


@pytest.mark.parametrize("n", [30, 300, 3000])
def test_where_nothing_moved_a_move_is_rarely_found(n) -> None:
    """Also where the head's own errors show: its probabilities here lean towards one class."""
    rng, alarms, times = np.random.default_rng(4), 0, 100
    for _ in range(times):
        (p, _), (scored, y) = images(rng, EVEN, n), images(rng, EVEN, 200)
        lean = rng.normal(1, 0.2, 2)
        p, scored = p * lean, scored * lean
        p, scored = p / p.sum(axis=1)[:, None], scored / scored.sum(axis=1)[:, None]
        alarms += estimate_prior(p, np.bincount(y) / 200, scored, y).moved
    assert alarms <= 0.05 * times + 2 * (0.05 * 0.95 * times) ** 0.5


def test_weights_make_labels_as_frequent_as_stated() -> None:
    y = np.repeat([0, 1, 2], [10, 20, 70])
    weight = label_weights(y, np.array([0.5, 0.3, 0.2]))
    np.testing.assert_allclose(np.bincount(y, weights=weight) / 100, [0.5, 0.3, 0.2])


def test_a_shift_names_the_class_that_moved_most() -> None:
    learned = np.array([0.2, 0.3, 0.5])
    y = np.repeat([0, 1, 2], [10, 70, 20])
    found = prevalence_shift(y, np.arange(100), learned, 400)
    assert found is not None
    assert (found.label, found.share, found.learned) == (1, 0.7, 0.3)
    assert found.p_value < 1e-6


def test_of_two_classes_the_rarer_one_is_named() -> None:
    y = np.repeat([0, 1], [95, 5])
    found = prevalence_shift(y, np.arange(100), EVEN, 100)
    assert found is not None
    assert found.label == 1


def test_images_of_one_group_count_as_few() -> None:
    y = np.repeat([0, 1], [80, 20])
    assert prevalence_shift(y, np.arange(100), EVEN, 1000)
    assert prevalence_shift(y, np.arange(100) // 20, EVEN, 1000) is None
    assert prevalence_shift(np.zeros(50, int), np.zeros(50, int), EVEN, 1000) is None


@pytest.mark.parametrize(("C", "n", "group"), [(2, 50, 1), (10, 100, 1), (3, 200, 5)])
def test_shares_that_did_not_shift_are_rarely_said_to(C, n, group) -> None:
    rng, alarms, times = np.random.default_rng(5), 0, 400
    share = np.arange(1, C + 1) / np.arange(1, C + 1).sum()
    for _ in range(times):
        y = np.repeat(rng.choice(C, n // group, p=share), group)
        learned = np.bincount(rng.choice(C, 300, p=share), minlength=C) / 300
        alarms += prevalence_shift(y, np.arange(n) // group, learned, 300) is not None
    assert alarms <= 0.05 * times + 2 * (0.05 * 0.95 * times) ** 0.5
