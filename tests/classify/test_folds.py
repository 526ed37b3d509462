"""Folds that keep groups whole."""

import numpy as np
import pytest

from tlx.classify.folds import stratified_group_folds
from tlx.errors import DataError


def test_folds_share_each_class_evenly():
    y = np.repeat([0, 1], [50, 23])
    fold = stratified_group_folds(y, np.arange(73), 5)
    for label in (0, 1):
        counts = np.bincount(fold[y == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_folds_keep_groups_whole_and_stay_balanced():
    random = np.random.default_rng(0)
    groups = random.integers(0, 40, 400)
    y = random.integers(0, 3, 400)
    fold = stratified_group_folds(y, groups, 5)
    for group in range(40):
        assert len(set(fold[groups == group])) == 1
    assert np.bincount(fold).min() > 60


def test_a_class_with_fewer_groups_than_folds_is_named_with_the_remedy():
    y = np.array([0] * 10 + [1] * 6)
    groups = np.concatenate([np.arange(10), [10, 10, 10, 11, 11, 12]])
    with pytest.raises(DataError, match=r"class 'dog' has 3 independent") as caught:
        stratified_group_folds(y, groups, 5, class_names=["cat", "dog"])
    assert "--folds 3" in caught.value.remedy


def test_the_seed_changes_the_folds():
    y = np.arange(100) % 2
    a, b = (stratified_group_folds(y, np.arange(100), 5, seed) for seed in (0, 1))
    assert (a != b).any()
