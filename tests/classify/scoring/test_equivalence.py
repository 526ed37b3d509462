"""What differences mean, and whether as many images as are told do tell."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.scoring.equivalence import images_needed, verdict
from tlx.classify.scoring.paired import Difference, compare_paired


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (-0.010, 0.010, 1.0, "equal"),
        (-0.009, -0.001, 0.01, "equal"),  # beyond chance, and yet it does not matter
        (-0.030, -0.001, 0.04, "worse"),
        (-0.030, -0.001, 0.05, "not known"),  # corrected for all pairs it may be chance
        (-0.011, 0.001, 0.20, "not known"),
    ],
)
def test_verdict(low: float, high: float, p: float, expected: str) -> None:
    assert verdict(Difference((low + high) / 2, low, high, p), 0.01) == expected


def test_without_a_region_nothing_is_equal_but_the_same() -> None:
    assert verdict(Difference(0.0, -1e-9, 1e-9, 1.0), 0.0) == "not known"
    assert verdict(Difference(0.0, 0.0, 0.0, 1.0), 0.0) == "equal"


@pytest.mark.parametrize("lost", [0.0, 0.03])
def test_so_many_images_tell_in_four_of_five_cases(lost: float) -> None:
    """Of two classifiers, one of which is as good as the other, or 3 points worse."""
    rng = np.random.default_rng(0)

    def compared(n: int) -> Difference:
        only_one = rng.choice(3, n, p=[0.03 + lost, 0.03, 0.94 - lost])  # best, other, neither
        best, other = (np.eye(2)[np.where(only_one == k, 1, 0)] for k in (0, 1))
        return compare_paired("accuracy", np.ones(n, int), other, best, np.arange(n))

    # What 4,000 images say of the spread, as if they were 200.
    found = compared(4000)
    half = (found.high - found.low) / 2 * 20**0.5
    at_200 = Difference(-lost, -lost - half, -lost + half, 0.5)
    needed = images_needed(at_200, 0.01, 200)
    assert needed is not None
    told = [verdict(compared(needed), 0.01) for _ in range(50)]
    assert 32 <= told.count("worse" if lost else "equal") <= 48


@pytest.mark.parametrize("gap", [0.0, 0.001, 0.003])
def test_both_ends_of_the_interval_have_to_lie_within_the_region(gap: float) -> None:
    needed = images_needed(Difference(gap, gap - 0.03, gap + 0.03, 1.0), 0.01, 300)
    assert needed is not None
    error = 0.03 / 1.96 * (300 / needed) ** 0.5
    middle = np.random.default_rng(0).normal(gap, error, 100_000)
    told = (np.abs(middle) + 1.96 * error <= 0.01).mean()
    assert 0.79 < told < 0.86  # of two digits, rounded up


def test_more_pairs_need_more_images() -> None:
    apart = Difference(-0.05, -0.11, 0.01, 0.2)
    one, many = (images_needed(apart, 0.01, 300, pairs) for pairs in (1, 21))
    assert one is not None
    assert many is not None
    assert 300 < one < many


def test_where_nothing_is_to_be_told_by_no_number_is_given() -> None:
    assert images_needed(Difference(0.0, -0.1, 0.1, 1.0), 0.0, 100) is None
    assert images_needed(Difference(0.0, -np.inf, np.inf, 1.0), 0.01, 100) is None
