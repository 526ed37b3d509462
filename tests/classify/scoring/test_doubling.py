"""What twice the images bring, where the power law or the gain is known."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.scoring.doubling import extrapolate, fit_power_law, gain_of_doubling
from tlx.classify.scoring.intervals import Metric


@pytest.mark.parametrize("truth", [(0.05, 0.5, 0.5), (0.0, 0.3, 0.35), (0.2, 1.0, 1.5)])
def test_recovers_a_power_law(truth) -> None:
    n = np.array([2.0, 4, 8, 16, 32, 64])
    floor, scale, exponent = truth
    errors = floor + scale * n**-exponent
    fitted = [float(part[0]) for part in fit_power_law(n, errors[None])]
    assert fitted == pytest.approx(truth, abs=0.02)


def test_neither_floor_nor_scale_is_negative() -> None:
    rng = np.random.default_rng(0)
    n = np.array([2.0, 4, 8, 16])
    floor, scale, exponent = fit_power_law(n, rng.random((200, 4)))
    assert floor.min() >= 0
    assert scale.min() >= 0
    assert exponent.min() >= 0.05
    assert exponent.max() <= 2


def test_fit_is_that_of_scipy() -> None:
    from scipy.optimize import least_squares

    n = np.array([2.0, 4, 8, 16, 32])
    errors = np.array([0.42, 0.30, 0.24, 0.185, 0.17])
    weights = np.array([1.0, 2, 3, 4, 5])

    def residuals(p):
        return np.sqrt(weights) * (p[0] + p[1] * n ** -p[2] - errors)

    expected = least_squares(residuals, [0.1, 0.5, 0.5], bounds=([0, 0, 0.05], [1, 9, 2])).cost * 2
    floor, scale, exponent = (part[0] for part in fit_power_law(n, errors[None], weights))
    assert (residuals((floor, scale, exponent)) ** 2).sum() == pytest.approx(expected, rel=0.05)


def rights(errors: list[float], M: int, seed: int = 0) -> list[np.ndarray]:
    """Draw which of M images are right, of three repeats for each size and one for the last."""
    rng = np.random.default_rng(seed)
    shapes = [(3, M)] * (len(errors) - 1) + [(1, M)]
    return [
        (rng.random(shape) > error).astype(float)
        for shape, error in zip(shapes, errors, strict=True)
    ]


def test_pure_noise_is_told_with_its_width() -> None:
    hits = rights([0.5] * 4, 12)
    now = Metric(float(hits[-1].mean()), 0.2, 0.8)
    doubled, reason = extrapolate([1, 2, 4, 8], hits, np.arange(12), now, 0)
    assert doubled is not None
    assert reason == ""
    assert doubled.gain.low < 0 < doubled.gain.high
    assert doubled.gain.high > 0.1


def test_faultless_images_are_no_certainty() -> None:
    hits = [np.ones((3, 50)), np.ones((3, 50)), np.ones((3, 50)), np.ones((1, 50))]
    doubled, _ = extrapolate([2, 4, 8, 16], hits, np.arange(50), Metric(1, 0.93, 1), 0)
    assert doubled is not None
    assert doubled.accuracy.low <= 0.93
    assert doubled.gain.low <= -0.05
    assert doubled.gain.high >= 0.05


def test_a_large_gain_is_at_least_a_quarter_and_at_most_all_of_the_last() -> None:
    half, whole = (hits for hits in rights([0.3, 0.1], 20_000))
    gain = gain_of_doubling(0.1, half, whole, np.arange(20_000), 1)
    assert 0.03 < gain.low < 0.05 < gain.value < 0.2 < gain.high < 0.23
    assert gain_of_doubling(9, half, whole, np.arange(20_000), 5).high > gain.high


def test_copies_of_held_out_images_tell_no_more() -> None:
    half, whole = rights([0.3, 0.2], 200)
    alone = gain_of_doubling(0.05, half, whole, np.arange(200), 1)
    copied = gain_of_doubling(
        0.05, np.repeat(half, 3, 1), np.repeat(whole, 3, 1), np.arange(600) // 3, 1
    )
    assert copied.high == pytest.approx(alone.high)
    assert copied.low == pytest.approx(alone.low)
