"""Which of two predictors is kept, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.finetune.verdict import by_chance, judge, weigh

N = 400
Y = np.arange(N) % 2


def proba(right: np.ndarray, confidence: float) -> np.ndarray:
    """Return probabilities that are right where `right`, at one confidence."""
    label = np.where(right, Y, 1 - Y)
    p = np.full((N, 2), 1 - confidence)
    p[np.arange(N), label] = confidence
    return p


HEAD = proba(np.arange(N) >= 80, 0.8)
BETTER = proba(np.arange(N) >= 20, 0.9)


def verdict(finetuned: np.ndarray, **options):
    return judge(Y, HEAD, finetuned, np.arange(N), **options)


def test_the_better_network_is_kept_and_its_gain_is_counted():
    found = verdict(BETTER)
    assert (found.kept, found.gained, found.lost) == ("finetuned", 60, 0)
    assert found.accuracy.low > 0
    assert "beyond chance" in found.why


def test_equal_predictions_keep_the_head():
    found = verdict(HEAD)
    assert found.kept == "head"
    assert "did not help" in found.why


def test_fewer_images_right_keep_the_head_whatever_the_loss():
    fewer = proba(np.arange(N) >= 81, 0.7999)
    fewer[80:, :] = np.where(fewer[80:, :] > 0.5, 0.99, 0.01)
    found = verdict(fewer)
    assert found.log_loss.value < 0
    assert found.kept == "head"
    assert "fewer images right" in found.why


def test_the_head_as_it_predicts_must_be_beaten_too():
    found = verdict(BETTER, as_kept=(0.1, 0.2))
    assert found.log_loss.value < 0
    assert found.kept == "head"
    assert "did not clearly help" in found.why


def test_a_difference_within_chance_is_called_so():
    one = HEAD.copy()
    one[0] = HEAD[100]
    found = verdict(one)
    assert found.kept == "finetuned"
    assert by_chance(found.accuracy)
    assert "within chance" in found.why


def test_calibrating_takes_nothing_but_a_factor_from_logits():
    logits = np.log(HEAD)
    one, two = (weigh(Y, factor * logits, np.arange(N), 0) for factor in (1.0, 4.0))
    assert two.metrics["log_loss"].value == pytest.approx(one.metrics["log_loss"].value, abs=0.01)
    assert two.temperature > one.temperature
