"""The share of strangers is told when it is beyond chance, and hardly ever when it is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom

from tlx.classify.strangers import Neighbours
from tlx.deploy.serving.drift import WINDOW, Drift, most_by_chance


def p_values(scored: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return conformal p-values of new distances."""
    farther = len(scored) - np.searchsorted(np.sort(scored), new, side="left")
    return (1 + farther) / (1 + len(scored))


def test_the_limit_is_that_of_the_beta_binomial():
    for n, a, b in ((50, 1, 99), (500, 4, 396), (500, 100, 9900), (500, 1, 40)):
        assert most_by_chance(n, a, b) == betabinom.isf(1e-5, n, a, b)
    assert most_by_chance(10, 1, 1e9) == 0


@pytest.mark.parametrize("M", [60, 400])
def test_images_like_the_scored_ones_are_hardly_ever_told(M):
    """Of 100 streams of 3,000 such images at most one is told, as the limit is asked so often."""
    rng, told = np.random.default_rng(M), 0
    level = Neighbours(np.empty(0), np.empty(M)).level
    for _ in range(100):
        drift, scored = Drift(level, M), rng.normal(size=M)
        values = p_values(scored, rng.normal(size=3000))
        told += any(drift.look(values[i : i + 20]) for i in range(0, 3000, 20))
    assert told <= 1


def test_other_images_are_told_once_and_so_is_their_end():
    drift = Drift(0.01, 400)
    ordinary, strange = [0.5] * WINDOW, [0.003] * 100
    assert drift.look(ordinary) == ""
    assert "100 of the last 500 images are like nothing" in drift.look(strange)
    assert drift.look(strange[:10]) == ""
    assert drift.is_out
    assert "are again like" in drift.look(ordinary)
    assert (drift.share, drift.n, drift.is_out) == (0, 500, False)


def test_few_images_are_not_told():
    assert Drift(0.01, 400).look([0.001] * 49) == ""
