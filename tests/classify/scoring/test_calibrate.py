"""Temperature scaling and rejection, against probabilities whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.heads.linear import softmax
from tlx.classify.scoring.calibrate import (
    apply_temperature,
    choose_threshold,
    cross_calibrate,
    fit_temperature,
    halve_groups,
    pooled,
)
from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.scoring.ece import calibration_error, expected_calibration_error
from tlx.errors import DataError, FitError


def drawn(n: int, C: int, seed: int = 0, scale: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (n, C) and classes drawn from their softmax: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, C))
    u = rng.random(n)[:, None]
    return logits, (softmax(logits).cumsum(axis=1) < u).sum(axis=1).clip(max=C - 1)


def nll(y: np.ndarray, p: np.ndarray) -> float:
    return float(-np.log(p[np.arange(len(y)), y]).mean())


@pytest.mark.parametrize("off", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("C", [2, 7])
def test_recovers_the_temperature(off: float, C: int) -> None:
    logits, y = drawn(5000, C)
    assert fit_temperature(y, softmax(logits / off)) == pytest.approx(1 / off, rel=0.06)


def test_is_the_minimum_of_the_loss() -> None:
    logits, y = drawn(3000, 4)
    p = softmax(logits * 2.5)
    T = fit_temperature(y, p)
    at = nll(y, apply_temperature(p, T))
    assert all(at < nll(y, apply_temperature(p, T * f)) for f in (0.95, 1.05))


@pytest.mark.parametrize("y", [0, 1])
def test_all_right_or_all_wrong_gives_a_finite_temperature(y: int) -> None:
    p = np.tile([0.9, 0.1], (40, 1))
    T = fit_temperature(np.full(40, y), p)
    assert 0.1 < T < 55


def test_a_sure_head_that_made_no_mistake_yet_is_not_believed_to_make_none() -> None:
    sure = np.tile([1 - 1e-12, 1e-12], (30, 1))
    T = fit_temperature(np.zeros(30, int), sure)
    assert 0.003 < apply_temperature(sure, T)[0, 1] < 0.03  # mistakes: 0.5 of 31


def test_few_images_tell_of_far_too_sure_a_head() -> None:
    losses = []
    for seed in range(20):
        logits, y = drawn(1030, 2, scale=6, seed=seed)
        p = softmax(20 * logits)
        T = fit_temperature(y[:30], p[:30])
        told = nll(y[30:], apply_temperature(p[30:], T))
        losses.append(told / nll(y[30:], softmax(logits[30:])))
    assert max(losses) < 3  # of the loss of the probabilities that the labels were drawn from


def test_no_images_leave_probabilities_alone() -> None:
    assert fit_temperature(np.zeros(0, int), np.zeros((0, 3))) == 1.0


def test_zero_probabilities_stay_finite() -> None:
    p = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    q, T = cross_calibrate(np.array([0, 1, 1]), p, np.array([0, 1, 2]), np.arange(3))
    assert np.isfinite(q).all()
    assert np.isfinite(T)


def test_logits_far_apart_are_calibrated_as_they_are() -> None:
    """The probabilities are those of the head whose logits are divided by the temperature."""
    logits, y = drawn(4000, 3)
    logits *= 30  # the true class often has a probability far below 1e-12
    assert softmax(logits)[np.arange(4000), y].min() < 1e-40
    q, T = cross_calibrate(y, softmax(logits), np.zeros(4000, int), np.arange(4000))
    assert 28 < T < 32
    assert np.allclose(apply_temperature(softmax(logits), T), softmax(logits / T), atol=1e-12)
    assert nll(y, q) == pytest.approx(nll(y, softmax(logits / 30)), abs=0.01)


def test_float32_probabilities_of_0_and_1_keep_their_order() -> None:
    p = np.array([[1.0, 1e-20, 0.0], [0.5, 0.5, 0.0]], np.float32)
    q = apply_temperature(p, 2.0)
    assert q[0, 0] > q[0, 1] >= q[0, 2] > 0
    assert q[1] == pytest.approx([0.5, 0.5, 1e-6 / 2**0.5], rel=1e-5)


def test_reduces_the_calibration_error_of_a_head_too_sure() -> None:
    logits, y = drawn(4000, 5)
    p = softmax(3 * logits)
    q, T = cross_calibrate(y, p, np.arange(4000) % 5, np.arange(4000))
    assert 2.7 < T < 3.3
    assert expected_calibration_error(y, q) < 0.1 * expected_calibration_error(y, p)
    assert (q.argmax(axis=1) == p.argmax(axis=1)).all()


def test_no_image_has_a_say_in_its_own_temperature() -> None:
    logits, y = drawn(200, 3)
    p, fold = softmax(logits * 3), np.arange(200) % 4
    before, _ = cross_calibrate(y, p, fold, np.arange(200))
    changed = np.where(fold == 2, (y + 1) % 3, y)
    after, _ = cross_calibrate(changed, p, fold, np.arange(200))
    assert (before[fold == 2] == after[fold == 2]).all()
    assert (before[fold != 2] != after[fold != 2]).any()


def test_a_validation_split_is_calibrated_in_halves_of_whole_groups() -> None:
    groups = np.repeat(np.arange(30), 3)
    half = halve_groups(groups, seed=1)
    assert half.sum() == 45
    assert all(len(set(half[groups == g])) == 1 for g in range(30))
    logits, y = drawn(90, 2)
    p = softmax(logits * 4)
    q, _ = cross_calibrate(y, p, np.zeros(90, int), groups, seed=1)
    expected = apply_temperature(p[half == 0], fit_temperature(y[half == 1], p[half == 1]))
    assert np.allclose(q[half == 0], expected)


def test_inner_folds_alone_calibrate_a_fold_and_join_the_halves_of_a_split() -> None:
    logits, y = drawn(300, 3)
    p, groups, fold = softmax(logits * 3), np.arange(100), np.arange(100) % 2
    scored, told = (y[:100], p[:100]), [(y[100:200], p[100:200]), (y[200:], p[200:])]
    q, _ = cross_calibrate(*scored, fold, groups, inner=told)
    for k in (0, 1):
        expected = apply_temperature(p[:100], fit_temperature(*told[k]))
        assert np.allclose(q[fold == k], expected[fold == k])
    q, T = cross_calibrate(*scored, np.zeros(100, int), groups, inner=told[:1])
    half = halve_groups(groups)
    other = pooled([told[0], (y[:100][half == 1], p[:100][half == 1])])
    expected = apply_temperature(p[:100], fit_temperature(*other))
    assert np.allclose(q[half == 0], expected[half == 0])
    assert pytest.approx(fit_temperature(y[:200], p[:200])) == T


def test_a_fold_without_inner_ones_is_calibrated_by_the_others() -> None:
    logits, y = drawn(90, 3)
    p, fold = softmax(logits * 3), np.arange(90) % 3
    q, T = cross_calibrate(y, p, fold, np.arange(90))
    again, _ = cross_calibrate(y, p, fold, np.arange(90), inner=[(y[:0], p[:0])] * 3)
    assert (q == again).all()
    assert fit_temperature(y, p) == T


def test_few_validation_images_make_the_log_loss_no_worse(make_table, draw) -> None:
    ratios = []
    for seed in range(8):
        X, y = draw(1300, classes=3, spread=1.0, seed=seed)
        split = np.where(np.arange(1300) < 20, "validation", "train")[:120]
        found = evaluate_head(make_table(X[:120], y[:120], split=split), "logreg")
        calibrated = found.head.predict_proba(X[120:])
        raw = apply_temperature(calibrated, 1 / found.temperature)
        ratios.append(nll(y[120:], calibrated) / nll(y[120:], raw))
    assert np.mean(ratios) < 1.0


def test_evaluation_scores_calibrated_probabilities(make_table, draw) -> None:
    table = make_table(*draw(400, classes=3, spread=1.5))
    found = evaluate_head(table, "logreg", grid={"C": [100.0]})
    y = table.y[found.rows]
    assert set(found.metrics) >= {"ece_raw", "ece"}
    assert found.metrics["ece"].value == pytest.approx(
        calibration_error(y, found.probabilities, table.groups[found.rows]).value
    )
    assert found.metrics["log_loss"].value == pytest.approx(nll(y, found.probabilities))
    assert found.temperature > 1  # hardly regularised: too sure


def test_a_saved_head_predicts_what_was_evaluated(add_dataset, draw, place) -> None:
    X, y = draw(300)
    split = ["validation" if i % 3 == 0 else "train" for i in range(300)]
    add_dataset("d", X, y, split=split)
    run = fit_head("logreg", workspace=place.root, grid={"C": [100.0]})
    T = run.info.temperature
    assert T != 1
    scored = run.predictions()
    held = np.array([s == "validation" for s in split])
    p = run.head().predict_proba(X[held])
    # Halves of the split have temperatures of their own, near that of the whole.
    assert (p.argmax(axis=1) == scored.probabilities.argmax(axis=1)).all()
    assert np.abs(p - scored.probabilities).max() < 0.1


def test_an_accepted_error_is_kept_to_in_19_of_20_data_sets() -> None:
    kept, asked = 0, 0.05
    for seed in range(100):
        logits, y = drawn(600, 2, seed, scale=3.0)
        found = choose_threshold(y, softmax(logits), np.arange(600), asked)
        p = softmax(drawn(20000, 2, seed + 1000, scale=3.0)[0])
        accepted = p.max(axis=1) >= found.threshold
        true_error = (1 - p.max(axis=1)[accepted]).mean()
        kept += true_error <= asked
    assert kept >= 95


def test_rejection_tells_what_it_accepts() -> None:
    logits, y = drawn(2000, 2, scale=3.0)
    p = softmax(logits)
    found = choose_threshold(y, p, np.arange(2000), 0.05)
    accepted = p.max(axis=1) >= found.threshold
    assert accepted.sum() == found.n
    assert found.coverage == found.n / 2000
    assert found.observed == (p.argmax(axis=1) != y)[accepted].mean()
    assert found.observed < found.bound <= 0.05


def faultless_but(n: int, mistakes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (n, 2), falling in confidence, and classes; some predictions wrong."""
    sure = np.linspace(0.999, 0.6, n)
    y = np.zeros(n, int)
    y[mistakes] = 1
    return y, np.stack([sure, 1 - sure], axis=1)


def test_three_hundred_faultless_images_promise_one_per_cent() -> None:
    y, p = faultless_but(399, [350, 370])
    found = choose_threshold(y, p, np.arange(399), 0.01)
    assert 299 <= found.n <= 350
    assert found.bound <= 0.01


@pytest.mark.parametrize("n", [600, 2000])
def test_one_mistake_among_the_most_confident_does_not_end_it_all(n: int) -> None:
    y, p = faultless_but(n, [3])
    assert choose_threshold(y, p, np.arange(n), 0.02).coverage == 1


def test_copies_promise_no_more() -> None:
    p = np.tile([0.98, 0.02], (100, 1))
    y = np.zeros(100, int)
    alone = choose_threshold(y, p, np.arange(100), 0.1)
    copied = choose_threshold(
        np.repeat(y, 10), np.repeat(p, 10, axis=0), np.repeat(np.arange(100), 10), 0.1
    )
    assert copied.bound == pytest.approx(alone.bound)


def test_an_error_out_of_reach_says_what_is_in_reach() -> None:
    logits, y = drawn(300, 2)
    p = softmax(logits)
    with pytest.raises(FitError, match=r"at most 1e-05.*300 scored images.*promised is") as told:
        choose_threshold(y, p, np.arange(300), 1e-5)
    least = float(told.value.cause.rstrip(".").split()[-1])
    assert choose_threshold(y, p, np.arange(300), least).bound <= least


@pytest.mark.parametrize("error", [0.0, 1.0, -1.0, 5.0])
def test_an_error_that_is_no_share_is_refused(error: float) -> None:
    with pytest.raises(DataError, match="cannot be asked for"):
        choose_threshold(np.array([0]), np.array([[1.0, 0.0]]), np.arange(1), error)


def test_classes_to_be_more_frequent_weigh_more_and_count_for_fewer_images():
    """With weights as without, where they are even; else a rare class hides more errors."""
    rng = np.random.default_rng(8)
    y = np.repeat([0, 1], [360, 40])
    odds = np.where(y, 1, -1) * 4 + rng.normal(0, 2, 400)
    p = np.stack([1 / (1 + np.exp(odds)), 1 / (1 + np.exp(-odds))], axis=1)
    groups = np.arange(400)
    plain = choose_threshold(y, p, groups, 0.1)
    assert choose_threshold(y, p, groups, 0.1, weights=np.full(400, 3.0)) == plain
    even = choose_threshold(y, p, groups, 0.2, weights=np.where(y, 5.0, 5 / 9))
    accepted = p.max(axis=1) >= even.threshold
    shares = [accepted[y == c].mean() for c in (0, 1)]
    assert even.coverage == pytest.approx(np.mean(shares))
    assert even.bound > plain.bound
    with pytest.raises(FitError, match="400 scored images, which count for 80 at this prevalence"):
        choose_threshold(y, p, groups, 0.01, weights=np.where(y, 5.0, 5 / 9))
