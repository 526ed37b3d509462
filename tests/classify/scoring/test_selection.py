"""What choosing adds, where the truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tlx.classify.heads.linear import softmax
from tlx.classify.scoring.metrics import Metric, score
from tlx.classify.scoring.selection import correct_for_choice

BOUNDS = {"accuracy": (0.0, 1.0), "log_loss": (0.0, 40.0)}


def heads(rng: np.random.Generator, n: int, noise: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return y (n,) and probabilities (K, n, 2) of heads of which some images are hard for all."""
    y = rng.integers(0, 2, n)
    shared = 2 * np.eye(2)[y] + rng.normal(0, 1, (n, 2))
    each = rng.normal(0, 1, (len(noise), n, 2)) * np.array(noise)[:, None, None]
    return y, softmax((shared + each).reshape(-1, 2)).reshape(each.shape)


def chosen(y: np.ndarray, p: np.ndarray, by: str, groups: np.ndarray) -> tuple[int, Metric, Metric]:
    """Return which head is best, its figure and the corrected one."""
    values = [score(y, one)[by].value for one in p]
    best = int(np.argmin(values) if by == "log_loss" else np.argmax(values))
    found = Metric(values[best], *BOUNDS[by])
    ranked = [p[best], *np.delete(p, best, axis=0)]
    return best, found, correct_for_choice(found, y, ranked, groups, metric=by, resamples=100)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["accuracy", "log_loss"])
@pytest.mark.parametrize("noise", [[0.5] * 7, [0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.9]])
def test_it_is_nearly_without_bias_for_equal_heads_and_for_unequal_ones(by, noise) -> None:
    rng = np.random.default_rng(1)
    y, p = heads(rng, 40_000, noise)
    truth = [score(y, one)[by].value for one in p]
    told, corrected = [], []
    for _ in range(150):
        y, p = heads(rng, 400, noise)
        best, found, right = chosen(y, p, by, np.arange(400))
        told.append(found.value - truth[best])
        corrected.append(right.value - truth[best])
    sign = -1 if by == "log_loss" else 1
    assert sign * np.mean(told) > 0.004
    # Within .2 points, and what 150 data sets can tell (two standard errors).
    assert abs(np.mean(corrected)) < 0.002 + 2 * np.std(corrected) / 150**0.5


def test_copies_of_images_add_nothing() -> None:
    y, p = heads(np.random.default_rng(0), 150, [0.5] * 5)
    alone = chosen(y, p, "accuracy", np.arange(150))[2]
    copies = np.repeat(np.arange(150), 3)
    copied = chosen(y[copies], p[:, copies], "accuracy", copies)[2]
    assert dataclasses.astuple(copied) == pytest.approx(dataclasses.astuple(alone))


def test_one_head_or_the_same_again_was_no_choice() -> None:
    y, p = heads(np.random.default_rng(0), 100, [0.5])
    best = Metric(0.8, 0.7, 0.9)
    for times in (1, 3):
        found = correct_for_choice(best, y, [p[0]] * times, np.arange(100))
        assert dataclasses.astuple(found) == pytest.approx((0.8, 0.7, 0.9))


def test_one_group_of_images_says_nothing() -> None:
    y, p = heads(np.random.default_rng(0), 30, [0.5] * 3)
    best = Metric(0.8, 0.7, 0.9)
    assert correct_for_choice(best, y, list(p), np.zeros(30, int)) == best


def test_value_and_interval_move_together_and_stay_shares() -> None:
    y, p = heads(np.random.default_rng(2), 60, [1.0] * 20)
    _, found, right = chosen(y, p, "accuracy", np.arange(60))
    assert right.value < found.value
    assert right.low == 0.0
    assert right.high == pytest.approx(1 + right.value - found.value)


def test_of_draws_the_means_are_compared() -> None:
    y, p = heads(np.random.default_rng(3), 200, [0.5] * 8)
    best = Metric(0.9, 0.8, 0.95)
    draws = [p[2 * k : 2 * k + 2] for k in range(4)]
    found = correct_for_choice(best, y, draws, np.arange(200))
    assert 0.8 < found.value < 0.9


@pytest.mark.slow
def test_a_choice_by_another_metric_flatters_less() -> None:
    rng = np.random.default_rng(4)
    by_itself, by_loss = [], []
    for _ in range(40):
        y, p = heads(rng, 200, [0.5] * 7)
        first = int(np.argmin([score(y, one)["log_loss"].value for one in p]))
        ranked = [p[first], *np.delete(p, first, axis=0)]
        best = score(y, p[first])["accuracy"]
        found = correct_for_choice(best, y, ranked, np.arange(200), by="log_loss", resamples=100)
        by_loss.append(best.value - found.value)
        _, told, right = chosen(y, p, "accuracy", np.arange(200))
        by_itself.append(told.value - right.value)
    assert np.mean(by_loss) < np.mean(by_itself)


@pytest.mark.parametrize(("metric", "by"), [("accuracy", "log_loss"), ("log_loss", "accuracy")])
def test_no_figure_gets_better_without_what_choosing_adds(metric: str, by: str) -> None:
    """The first by one metric may be among the last by the other."""
    rng = np.random.default_rng(5)
    sign = {"accuracy": 1, "log_loss": -1}
    for _ in range(10):
        y, p = heads(rng, 200, [0.5] * 7)
        found = [{name: score(y, one)[name] for name in sign} for one in p]
        first = int(np.argmin([sign[metric] * one[metric].value for one in found]))
        ranked = [p[first], *np.delete(p, first, axis=0)]
        best = found[first][metric]
        told = correct_for_choice(
            best, y, ranked, np.arange(200), metric=metric, by=by, resamples=50
        )
        assert sign[metric] * told.value <= sign[metric] * best.value
