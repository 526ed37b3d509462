"""Rows that point into nearly the same direction, against the comparison of all with all."""

import numpy as np
import pytest

from tlx.classify import cosine
from tlx.classify.cosine import close_pairs, main_directions, unit_rows


def all_pairs(Z, least):
    first, second = np.nonzero(np.triu(least < Z @ Z.T, 1))
    return [first.tolist(), second.tolist()]


def found(Z, least, most=16):
    return [rows.tolist() for rows in close_pairs(Z, least, most)]


def drawn(n, scale, clusters=20, seed=0):
    """Return centred rows of length 1: clusters, and pairs within some of them."""
    rng = np.random.default_rng(seed)
    X = (
        rng.normal(size=(n, len(scale)))
        + rng.normal(size=(clusters, len(scale))).repeat(-(-n // clusters), axis=0)[
            rng.permutation(n)
        ]
    )
    X[: n // 20] = X[-(n // 20) :] + rng.normal(0, 0.3, (n // 20, len(scale)))
    X *= scale
    return unit_rows(X - X.mean(axis=0))


SCALES = {
    "as of a network": np.arange(1, 161) ** -0.5,
    "in few directions": np.r_[np.ones(10), np.full(150, 1e-3)],
    "in all directions": np.ones(160),
}


@pytest.mark.parametrize("scale", SCALES)
def test_nothing_is_missed_and_nothing_added(scale):
    Z = drawn(3300, SCALES[scale])
    cosine = np.sort((Z @ Z.T)[np.triu_indices(len(Z), 1)])
    i = len(cosine) - 5000 + np.argmax(np.diff(cosine[-5000:-1000]))  # clear of rounding
    least = (cosine[i] + cosine[i + 1]) / 2
    assert found(Z, least) == all_pairs(Z, least)


@pytest.mark.parametrize("few", [0, 3000])
def test_of_too_many_the_closest_of_each_block_are_taken(few, monkeypatch):
    monkeypatch.setattr("tlx.classify.cosine._FEW", few)
    n = 1100
    Z = drawn(n, SCALES["as of a network"])
    first, second = close_pairs(Z, -1, most=2)
    cosine = Z @ Z.T
    for k in range(0, n, 512):
        block = (first >= k) & (first < k + 512)
        rows = min(512, n - k)
        assert block.sum() == min(2 * rows, rows * (rows - 1) // 2)
        taken = np.sort(cosine[first[block], second[block]])
        everything = np.concatenate([cosine[row, row + 1 :] for row in range(k, k + rows)])
        np.testing.assert_allclose(taken, np.sort(everything)[-len(taken) :], atol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_rows_are_no_error(n):
    assert len(found(unit_rows(np.ones((n, 4))), 0.5)[0]) == n * (n - 1) // 2


def test_rows_of_zeros_are_close_to_none():
    Z = drawn(3300, SCALES["as of a network"])
    Z[100:200] = 0
    first, second = close_pairs(Z, 0.5, 16)
    assert not {*range(100, 200)} & {*first.tolist(), *second.tolist()}


def test_unit_rows_keep_a_row_of_zeros():
    np.testing.assert_allclose(unit_rows(np.array([[3, 4], [0, 0]])), [[0.6, 0.8], [0, 0]])


def test_of_many_rows_few_close_pairs_are_missed_and_none_is_added_or_told_twice(monkeypatch):
    Z = drawn(6000, SCALES["as of a network"])
    monkeypatch.setattr(cosine, "MANY", 1000)
    first, second = close_pairs(Z, 0.9, 16)
    assert (first < second).all()
    assert np.einsum("nd,nd->n", Z[first], Z[second]).min() > 0.9
    told = set(zip(first.tolist(), second.tolist(), strict=True))
    assert len(told) == len(first)
    there = set(zip(*all_pairs(Z, 0.9), strict=True))
    assert len(told & there) > 0.95 * len(there)
    again = close_pairs(Z, 0.9, 16)
    assert np.array_equal(first, again[0])
    assert np.array_equal(second, again[1])


@pytest.mark.slow
def test_of_60_000_rows_few_copies_are_missed():
    rng = np.random.default_rng(0)
    scale = np.arange(1, 513, dtype=np.float32) ** -0.5
    X = rng.standard_normal((60_000, 512), dtype=np.float32) * scale
    X += (rng.standard_normal((1000, 512), dtype=np.float32) * scale)[rng.integers(0, 1000, 60_000)]
    X[-5000:] = X[:5000] + 0.2 * rng.standard_normal((5000, 512), dtype=np.float32) * scale
    U = unit_rows(X - X.mean(axis=0))
    alike = np.flatnonzero(np.einsum("nd,nd->n", U[:5000], U[-5000:]) >= 0.98)
    first, second = close_pairs(unit_rows(main_directions([X])), 0.9, 4)
    told = set(zip(first.tolist(), second.tolist(), strict=True))
    assert len(alike) > 2000
    assert np.mean([(i, 55_000 + i) in told for i in alike.tolist()]) > 0.97


def test_main_directions_keep_what_is_close_and_are_those_of_all_parts():
    X = drawn(3000, SCALES["as of a network"])
    along = main_directions([X[:1000], X[1000:]])
    assert along.shape == (3000, 128)
    cosines = [np.einsum("nd,nd->n", *map(unit_rows, (M[:150], M[-150:]))) for M in (along, X)]
    assert cosines[0] == pytest.approx(cosines[1], abs=0.05)
