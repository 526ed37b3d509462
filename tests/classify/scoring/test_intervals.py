"""Intervals of few images, of folds and of draws."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.scoring.intervals import Metric, average_draws, standard_error


def test_the_error_of_groups_is_that_of_their_sums():
    influence = np.array([1.0, 1.0, -1.0, -1.0])
    alone, paired = (standard_error(influence, np.array(g)) for g in ([0, 1, 2, 3], [0, 0, 1, 1]))
    assert alone == pytest.approx(0.5)
    assert paired == pytest.approx(np.sqrt(8) / 4)


def test_the_interval_of_draws_adds_both_kinds_of_chance():
    same = [{"accuracy": Metric(0.8, 0.7, 0.9)}] * 4
    assert average_draws(same)["accuracy"] == Metric(
        pytest.approx(0.8), pytest.approx(0.7), pytest.approx(0.9)
    )
    values = (0.75, 0.85, 0.75, 0.85)
    spread = [{"accuracy": Metric(v, v - 0.1, v + 0.1)} for v in values]
    drawn = 3.182446 * np.std(values, ddof=1) / 2  # Student's t with 3 degrees of freedom
    wide = average_draws(spread)["accuracy"]
    assert wide.low == pytest.approx(0.8 - np.hypot(0.1, drawn), abs=1e-6)
    assert wide.high == pytest.approx(0.8 + np.hypot(0.1, drawn), abs=1e-6)


def test_two_repeats_of_the_folds_are_hardly_less_sure_than_one():
    one, other = ({"accuracy": Metric(v, v - 0.05, v + 0.05)} for v in (0.90, 0.92))
    repeated = average_draws([one, other], learned_anew=False)["accuracy"]
    assert repeated.value == pytest.approx(0.91)
    assert 0.05 <= repeated.high - 0.91 < 0.056
    drawn = average_draws([one, other])["accuracy"]
    assert drawn.high == 1.0
