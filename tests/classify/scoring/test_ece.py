"""Calibration error: chance is taken off, and the interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.scoring.ece import calibration_error, expected_calibration_error


def drawn(n, seed, too_sure=0.0):
    """Return classes and probabilities of n images; confidence is above accuracy by `too_sure`."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5 + too_sure, 1, n)
    y = (rng.random(n) > confidence - too_sure).astype(int)
    return y, np.column_stack([confidence, 1 - confidence])


def test_of_calibrated_and_of_overconfident_probabilities():
    y, calibrated = drawn(20_000, 0)
    assert expected_calibration_error(y, calibrated) < 0.02
    assert calibration_error(y, calibrated).value < 0.005
    sure = np.tile([1.0, 0.0], (20_000, 1))
    for value in (expected_calibration_error(y, sure), calibration_error(y, sure).value):
        assert value == pytest.approx(y.mean(), abs=1e-4)


def test_does_not_depend_on_the_order():
    y, p = drawn(500, 1)
    p = np.round(p, 1)
    order = np.random.default_rng(0).permutation(500)
    for error in (expected_calibration_error, lambda y, p: calibration_error(y, p).value):
        assert error(y, p) == pytest.approx(error(y[order], p[order]))


@pytest.mark.parametrize("too_sure", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("n", [50, 400])
def test_few_images_make_it_no_larger_and_the_interval_holds_the_truth(too_sure, n):
    """Of 50 images bins alone tell .14 where the truth is 0."""
    found = [calibration_error(*drawn(n, seed, too_sure)) for seed in range(100)]
    assert np.mean([m.value for m in found]) == pytest.approx(too_sure, abs=0.04)
    assert sum(m.low <= too_sure <= m.high for m in found) >= 90


def test_copies_in_groups_change_nothing():
    y, p = drawn(200, 3, too_sure=0.1)
    alone, copied = (
        calibration_error(np.repeat(y, k), np.repeat(p, k, axis=0), np.repeat(np.arange(200), k))
        for k in (1, 4)
    )
    assert copied.value == pytest.approx(alone.value, abs=0.02)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.1)


@pytest.mark.parametrize("confidence", [1.0, 0.5, 0.0])
def test_images_of_one_confidence_have_the_error_of_their_mean(confidence):
    y = np.zeros(100, int)
    y[:10] = 1
    p = np.tile([max(confidence, 0.5), 1 - max(confidence, 0.5)], (100, 1))
    metric = calibration_error(y, p)
    assert metric.value == pytest.approx(abs(0.9 - p[0, 0]), abs=0.01)
    assert metric.low <= metric.value <= metric.high


def test_one_image_has_an_interval():
    metric = calibration_error(np.array([0]), np.array([[0.7, 0.3]]))
    assert 0 <= metric.low <= metric.value <= metric.high <= 1
