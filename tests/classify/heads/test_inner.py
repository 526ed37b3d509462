"""Rows that a head holds out of its own, and the scale of its probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.heads.inner import fit_scale, inner_folds


def test_groups_stay_whole_and_folds_are_stratified():
    y, groups = np.repeat([0, 1], 30), np.arange(60) // 2
    fold, n = inner_folds(y, groups, 3, 0)
    assert n == 3
    assert (fold[::2] == fold[1::2]).all()
    assert [np.bincount(y[fold == k]).tolist() for k in range(3)] == [[10, 10]] * 3


def test_a_class_of_one_group_is_never_held_out():
    y = np.array([0] * 6 + [1] * 6 + [2] * 4)
    groups = np.r_[np.arange(12), [99] * 4]
    fold, n = inner_folds(y, groups, 3, 0)
    assert n == 3
    assert (fold[y == 2] == -1).all()
    assert (fold[y != 2] >= 0).all()


def test_there_are_no_more_folds_than_the_rarest_class_has_groups():
    y = np.array([0] * 10 + [1] * 2)
    assert inner_folds(y, np.arange(12), 5, 0)[1] == 2


@pytest.mark.parametrize("n", [2, 3])
def test_nothing_can_be_held_out(n):
    fold, folds = inner_folds(np.arange(n), np.arange(n), 5, 0)
    assert (fold.tolist(), folds) == ([-1] * n, 0)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_scale_of_logits_is_found_again(classes):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (p.cumsum(axis=1) < rng.random((len(p), 1))).sum(axis=1)
    assert fit_scale(logits / 7, y) == pytest.approx(7, rel=0.05)


def test_separated_rows_do_not_ask_for_certainty():
    y = np.arange(20) % 2
    d = np.where(y == 1, 1.0, -1.0)[:, None] * [-0.5, 0.5]
    scale = fit_scale(d, y)
    assert 1 / (1 + np.exp(-scale)) == pytest.approx(1 - 1 / 44, rel=1e-6)


def test_no_rows_no_scale():
    assert fit_scale(np.empty((0, 2)), np.empty(0, int)) == 1


def test_useless_decisions_are_scaled_to_nothing():
    y = np.arange(40) % 2
    d = np.where(y == 0, 1.0, -1.0)[:, None] * [-0.5, 0.5]
    assert 0 < fit_scale(d, y) < 1e-3
