"""Which of two predictors is kept, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.errors import UnknownNameError
from tlx.finetune.verdict import by_chance, checked_keep, compare_losses, cross_fit, judge, weigh

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


def test_a_difference_within_chance_keeps_the_head_and_is_called_so():
    one = HEAD.copy()
    one[0] = HEAD[100]
    found = verdict(one)
    assert found.log_loss.value < 0
    assert (found.kept, found.better) == ("head", False)
    assert by_chance(found.accuracy)
    assert "within chance" in found.why


@pytest.mark.parametrize(("keep", "finetuned"), [("finetuned", HEAD), ("head", BETTER)])
def test_what_is_asked_for_is_kept_whatever_is_better(keep, finetuned):
    found = verdict(finetuned, keep=keep)
    assert found.kept == keep
    assert found.better == (keep == "head")


def test_nothing_else_can_be_asked_for():
    with pytest.raises(UnknownNameError, match="what to keep: 'tuned'"):
        checked_keep("tuned")


@pytest.mark.parametrize(("n", "said"), [(149, True), (150, False)])
def test_below_150_images_it_says_that_little_can_be_told(n, said):
    some = np.linspace(0, N - 1, n).astype(int)
    found = judge(Y[some], HEAD[some], BETTER[some], np.arange(n))
    assert ("little can be told" in found.why) == said


def test_groups_are_not_called_images():
    found = judge(Y, HEAD, BETTER, np.arange(N) // 4)
    assert "With 100 groups of held-out images little can be told" in found.why


def test_copies_count_as_one_image():
    groups = np.arange(N) // 4
    alone, copied = (compare_losses(Y, BETTER, HEAD, g) for g in (np.arange(N), groups))
    assert copied.value == alone.value
    assert copied.high > alone.high


def test_few_images_without_a_mistake_prove_nothing():
    y = np.zeros(50, int)
    head, surer = (np.tile([p, 1 - p], (50, 1)) for p in (0.98, 0.995))
    found = compare_losses(y, surer, head, np.arange(50))
    assert found.value < 0
    assert by_chance(found)


def test_equal_predictors_do_not_differ():
    found = compare_losses(Y, HEAD, HEAD, np.arange(N))
    assert (found.value, found.p_value) == (0.0, 1.0)


def epochs(*shares: float) -> np.ndarray:
    """Return logits of epochs that get a share of the images right, each others, at random."""
    rng = np.random.default_rng(0)
    return np.stack([np.log(proba(rng.random(N) < share, 0.9)) for share in shares])


def test_the_epoch_that_predicts_an_image_was_chosen_by_others():
    # An epoch that is good on one half alone looks best there, and is used on the other.
    half = np.arange(N) % 4 < 2
    good = [np.log(proba(part, 0.9)) for part in (half, ~half)]
    _, cross = cross_fit(Y, np.stack(good), np.arange(N), fold=half.astype(int))
    assert (cross.argmax(axis=1) == Y).mean() == 0


def test_luck_among_equal_epochs_is_not_told_as_skill():
    logits = epochs(*[0.7] * 40)
    best = max((one.argmax(axis=1) == Y).mean() for one in logits)
    raw, _ = cross_fit(Y, logits, np.arange(N))
    assert best > 0.74
    assert (raw.argmax(axis=1) == Y).mean() < 0.73


def test_a_group_is_never_predicted_by_what_itself_has_chosen():
    groups = np.arange(N) // 2
    shuffled = np.random.default_rng(1).permutation(N)
    logits = epochs(0.7, 0.8)
    whole = cross_fit(Y, logits, groups)[1]
    again = cross_fit(Y[shuffled], logits[:, shuffled], groups[shuffled])[1]
    assert whole.shape == again.shape == (N, 2)
    temperature = np.log(whole).max(axis=1) - np.log(whole).min(axis=1)
    assert len(np.unique(temperature.round(6))) == 2  # one a half


def test_a_class_of_one_image_can_be_cross_fitted_too():
    y = np.where(np.arange(N) == 0, 1, 0)
    assert cross_fit(y, epochs(0.7), np.arange(N))[1].shape == (N, 2)


def test_calibrating_takes_nothing_but_a_factor_from_logits():
    logits = np.log(HEAD)
    one, two = (
        weigh(Y, *cross_fit(Y, factor * logits[None], np.arange(N)), np.arange(N))
        for factor in (1.0, 4.0)
    )
    assert two.metrics["log_loss"].value == pytest.approx(one.metrics["log_loss"].value, abs=0.01)
    assert two.metrics["ece_raw"].value > one.metrics["ece_raw"].value
