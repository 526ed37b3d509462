"""How far images are from others, against what was drawn."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.cosine import unit_rows
from tlx.classify.strangers import (
    NEAREST,
    Neighbours,
    choose_references,
    find_neighbours,
    neighbour_distances,
)


def drawn(n: int, rng: np.random.Generator, dim: int = 16) -> np.ndarray:
    """Return non-negative features (n, dim) of images that have much in common."""
    return np.abs(rng.normal(np.linspace(2, 0.1, dim), 0.4, (n, dim))).astype(np.float32)


def test_distances_are_those_of_the_nearest_of_other_groups(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    X, R = rng.normal(size=(50, 6)), unit_rows(rng.normal(size=(30, 6)))
    groups, theirs = rng.integers(0, 5, 50), rng.integers(0, 5, 30)
    monkeypatch.setattr("tlx.classify.strangers._BLOCK", 7)
    found = neighbour_distances(X, R, groups, theirs)
    cosine = X @ R.T / np.linalg.norm(X, axis=1)[:, None]
    for i in range(50):
        others = np.sort(1 - cosine[i, theirs != groups[i]])
        assert found[i] == pytest.approx(others[NEAREST - 1], abs=1e-6)


def test_an_image_without_images_of_other_groups_is_infinitely_far() -> None:
    X = np.eye(4, dtype=np.float32)
    same = np.zeros(4, int)
    assert np.isinf(neighbour_distances(X, X, same, same)).all()


def test_fewer_references_than_neighbours_are_enough() -> None:
    X = np.eye(2, dtype=np.float32)
    assert neighbour_distances(X, X[:1]).tolist() == [0, 1]


def test_a_feature_of_zeros_resembles_nothing() -> None:
    assert neighbour_distances(np.zeros((1, 3)), np.eye(3)).tolist() == [1]


def test_classes_with_few_images_keep_them_all() -> None:
    y = np.repeat([0, 1, 3], [500, 7, 300])
    found = choose_references(y, 107)
    assert np.bincount(y[found]).tolist() == [50, 7, 0, 50]
    assert (np.diff(found) > 0).all()
    assert len(choose_references(y, 5000)) == len(y)


@pytest.mark.parametrize("n", range(1, 100))
def test_of_few_scored_images_none_is_a_stranger(n) -> None:
    """The level is 1 / (n + 1), and that times n + 1 need not be 1 in floating point."""
    found = Neighbours(np.eye(3, dtype=np.float16), np.linspace(0, 1, n, dtype=np.float32))
    assert not found.are_strangers.any()


@pytest.mark.parametrize("n", [10, 60, 250])
def test_no_more_ordinary_images_are_strangers_than_is_said(n) -> None:
    """Over many data sets, so that the share among new images has its mean."""
    rng, times = np.random.default_rng(1), 120
    wrong = shares = 0.0
    for _ in range(times):
        X, rows = drawn(n + 50, rng), np.arange(n + 50)
        found = find_neighbours(X, np.zeros(n + 50, int), rows, rows[:50], rows[50:])
        wrong += float((found.p_values(drawn(40, rng)) <= found.level).mean()) / times
        shares += float(found.are_strangers.mean()) / times
    assert found.level == pytest.approx(max(0.01, 1 / (n + 1)))
    assert wrong <= found.level + 3 * np.sqrt(found.level / times / 3)
    assert wrong >= found.level / 3
    assert shares <= found.level


def test_what_was_learned_from_is_compared_with_other_images_of_it() -> None:
    """With folds the same images are learned from and scored: each is left out for itself."""
    rng = np.random.default_rng(2)
    X, rows = drawn(400, rng), np.arange(400)
    found = find_neighbours(X, rows % 2, rows, rows, rows)
    assert found.distances.min() > 0
    assert 0.002 <= (found.p_values(drawn(4000, rng)) <= 0.01).mean() <= 0.02


def test_what_points_elsewhere_is_a_stranger() -> None:
    rng = np.random.default_rng(3)
    X, rows = drawn(300, rng), np.arange(300)
    found = find_neighbours(X, rows % 2, rows, rows[:150], rows[150:])
    p = found.p_values(drawn(100, rng)[:, ::-1])
    assert (p == 1 / 151).all()


def test_the_strangers_among_the_scored_are_those_that_new_ones_as_far_would_be() -> None:
    scored = np.arange(1, 400, dtype=np.float32)
    found = Neighbours(np.zeros((1, 2), np.float16), scored)
    assert scored[found.are_strangers].tolist() == [397, 398, 399]
    assert not Neighbours(found.references, scored[:50]).are_strangers.any()


def test_references_take_little_place() -> None:
    X, rows = np.ones((6000, 1280), np.float32), np.arange(6000)
    found = find_neighbours(X, rows % 2, rows, rows, rows[:1])
    assert found.references.nbytes <= 4_000_000
    assert find_neighbours(X[:, :2], rows % 2, rows, rows, rows[:1]).references.shape == (2000, 2)
