"""Paired tests, against SciPy, scikit-learn and plain loops."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from tlx.classify.heads.linear import softmax
from tlx.classify.scoring.metrics import score
from tlx.classify.scoring.paired import compare_paired, compare_with_first, holm

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc")


def two(n: int, C: int = 2, seed: int = 0, worse: float = 0.0) -> tuple[np.ndarray, ...]:
    """Return y and the probabilities of two classifiers, the second noisier by `worse`."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, C, n)
    shared = 2 * np.eye(C)[y] + rng.normal(0, 1, (n, C))
    a = shared + rng.normal(0, 0.5, (n, C))
    b = shared + rng.normal(0, 0.5 + worse, (n, C))
    return y, softmax(a), softmax(b)


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_is_tested_by_mcnemars_exact_test(seed: int) -> None:
    from scipy.stats import binomtest

    y, a, b = two(300, seed=seed, worse=0.5 * seed)
    right_a, right_b = (p.argmax(axis=1) == y for p in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    found = compare_paired("accuracy", y, a, b, np.arange(300))
    assert found.p_value == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert found.value == pytest.approx((only_a - only_b) / 300)


def test_accuracy_interval_is_agresti_and_mins() -> None:
    y, a, b = two(200, worse=1.0)
    right_a, right_b = (p.argmax(axis=1) == y for p in (a, b))
    plus, minus = (right_a & ~right_b).sum() + 0.5, (right_b & ~right_a).sum() + 0.5
    n = 202
    half = 1.959964 * np.sqrt(plus + minus - (plus - minus) ** 2 / n) / n
    found = compare_paired("accuracy", y, a, b, np.arange(200))
    assert found.low == pytest.approx((plus - minus) / n - half)
    assert found.high == pytest.approx((plus - minus) / n + half)


@pytest.mark.parametrize("metric", METRICS)
def test_copies_change_neither_p_value_nor_interval(metric: str) -> None:
    y, a, b = two(150, worse=1.0)
    alone = compare_paired(metric, y, a, b, np.arange(150))
    four = [np.repeat(x, 4, axis=0) for x in (y, a, b, np.arange(150))]
    copied = compare_paired(metric, *four)
    assert dataclasses.astuple(copied) == pytest.approx(dataclasses.astuple(alone))


def test_flips_of_groups_come_near_to_all_signs_and_claim_no_more() -> None:
    """Of groups of 1 to 3 images all 4,096 signs, and those whose sum is as large in size."""
    rng = np.random.default_rng(0)
    sizes, gains = rng.integers(1, 4, 12), rng.choice([1, -1], 12, p=[0.75, 0.25])
    groups = np.repeat(np.arange(12), sizes)
    right_a = np.repeat(gains, sizes) > 0
    y = np.zeros(len(groups), int)
    a, b = (np.eye(2)[np.where(right, 0, 1)] for right in (right_a, ~right_a))
    signs = np.array(list(itertools.product([1, -1], repeat=12)))
    expected = (np.abs(signs @ sizes) >= abs(int((sizes * gains).sum()))).mean()
    found = compare_paired("accuracy", y, a, b, groups).p_value
    assert expected <= found < 1.5 * expected


@pytest.mark.parametrize("metric", METRICS)
def test_equal_classifiers_have_no_difference_and_an_interval_around_it(metric: str) -> None:
    y, a, _ = two(100)
    found = compare_paired(metric, y, a, a, np.arange(100))
    assert (found.value, found.p_value) == (0.0, 1.0)
    assert found.low <= 0 <= found.high


def test_classifiers_that_agree_on_every_image_are_not_certainly_equal() -> None:
    y, a, _ = two(50)
    found = compare_paired("accuracy", y, a, a, np.arange(50))
    assert found.low < -0.02
    assert found.high > 0.02


@pytest.mark.parametrize("C", [2, 4])
@pytest.mark.parametrize("metric", METRICS)
def test_value_is_the_difference_of_the_scores(metric: str, C: int) -> None:
    y, a, b = two(240, C, worse=1.0)
    b = b.round(2) + 1e-4  # ties
    b /= b.sum(axis=1, keepdims=True)
    groups = np.arange(240) // 2
    found = compare_paired(metric, y, a, b, groups)
    expected = score(y, a)[metric].value - score(y, b)[metric].value
    assert found.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_interval_is_about_that_of_a_bootstrap(metric: str) -> None:
    y, a, b = two(200, 3, worse=1.5)
    found = compare_paired(metric, y, a, b, np.arange(200))
    rng = np.random.default_rng(1)
    values = []
    for _ in range(200):
        rows = rng.integers(0, 200, 200)
        values.append(score(y[rows], a[rows])[metric].value - score(y[rows], b[rows])[metric].value)
    low, high = np.quantile(values, [0.025, 0.975])
    width = high - low
    assert found.low == pytest.approx(low, abs=0.2 * width)
    assert found.high == pytest.approx(high, abs=0.2 * width)


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS[1:])
def test_p_value_is_about_that_of_flipping_images_one_by_one(metric: str) -> None:
    """To flip an image is to swap what the two say of it."""
    y, a, b = two(120, 3, worse=1.0)
    found = compare_paired(metric, y, a, b, np.arange(120))
    rng = np.random.default_rng(1)
    as_far = 0
    for _ in range(200):
        swap = rng.random(120)[:, None] < 0.5
        p, q = np.where(swap, b, a), np.where(swap, a, b)
        value = score(y, p)[metric].value - score(y, q)[metric].value
        as_far += abs(value) >= abs(found.value)
    assert found.p_value == pytest.approx(as_far / 200, abs=0.1)


@pytest.mark.parametrize("metric", METRICS)
def test_folds_widen_the_interval_and_raise_the_p_value(metric: str) -> None:
    y, a, b = two(200, worse=1.5)
    one, five = (compare_paired(metric, y, a, b, np.arange(200), n_folds=n) for n in (1, 5))
    assert five.value == one.value
    assert five.high - five.low == pytest.approx(1.8**0.5 * (one.high - one.low))
    assert five.p_value > one.p_value


def test_p_values_have_no_floor() -> None:
    y, a, b = two(2000, worse=4.0)
    for metric in METRICS:
        assert compare_paired(metric, y, a, b, np.arange(2000)).p_value < 1e-9


@pytest.mark.parametrize("metric", METRICS[1:3])
def test_a_small_class_that_only_one_gets_right_is_not_certain(metric: str) -> None:
    """Four of 100 images: 2 of 16 signs are as far."""
    y = np.repeat([0, 1], [96, 4])
    a, b = np.eye(2)[y], np.eye(2)[np.zeros(100, int)]
    found = compare_paired(metric, y, a, b, np.arange(100))
    assert found.p_value == pytest.approx(2 / 16)


@pytest.mark.parametrize("metric", METRICS)
def test_a_worse_classifier_is_found_out(metric: str) -> None:
    y, a, b = two(600, 3, worse=3.0)
    found = compare_paired(metric, y, a, b, np.arange(600))
    assert found.p_value < 0.01
    assert found.low > 0 or metric == "log_loss"
    assert found.high < 0 or metric != "log_loss"


@pytest.mark.parametrize("metric", METRICS)
def test_interval_of_no_difference_holds_zero_in_about_19_of_20(metric: str) -> None:
    held = 0
    for seed in range(100):
        y, a, b = two(120, seed=seed)
        found = compare_paired(metric, y, a, b, np.arange(120))
        held += found.low <= 0 <= found.high
    assert held >= 88


def test_holm_is_never_smaller_and_keeps_the_order() -> None:
    p = [0.2, 0.001, 0.03, 0.5]
    corrected = holm(p)
    assert corrected == pytest.approx([0.4, 0.004, 0.09, 0.5])
    assert holm([]) == []


def test_over_draws_it_is_the_mean_of_each_image_that_is_compared():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 50)
    a, b = rng.dirichlet([1, 1], (2, 3, 50))
    for metric in ("accuracy", "log_loss", "roc_auc"):
        each = [
            compare_paired(metric, y, p, q, np.arange(50)).value for p, q in zip(a, b, strict=True)
        ]
        found = compare_paired(metric, y, a, b, np.arange(50))
        assert found.value == pytest.approx(np.mean(each))
    once = compare_paired("accuracy", y, a[0], b[0], np.arange(50))
    thrice = compare_paired("accuracy", y, a[[0, 0, 0]], b[[0, 0, 0]], np.arange(50))
    assert dataclasses.astuple(thrice) == pytest.approx(dataclasses.astuple(once))


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
def test_of_seven_equal_classifiers_few_data_sets_claim_any_to_be_worse(metric: str) -> None:
    """The best is chosen on the same images. Of 60 with true rates of 5%, 7 are in 98%."""
    claimed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, 150)
        shared = 2 * np.eye(2)[y] + rng.normal(0, 1, (150, 2))
        seven = [softmax(shared + rng.normal(0, 0.7, (150, 2))) for _ in range(7)]
        sign = -1 if metric == "log_loss" else 1
        seven.sort(key=lambda p: sign * score(y, p)[metric].value, reverse=True)
        found = compare_with_first(metric, y, seven, np.arange(150))
        claimed += any(difference.p_value < 0.05 for difference in found)
    assert claimed <= 7


def test_p_values_are_corrected_for_all_pairs_of_different_classifiers() -> None:
    y, a, b = two(300, worse=2.0)
    _, _, c = two(300, worse=4.0)
    alone = [compare_paired("accuracy", y, p, a, np.arange(300)).p_value for p in (b, c)]
    among = compare_paired("accuracy", y, c, b, np.arange(300)).p_value
    expected = [1.0, *holm([*alone, among])[:2]]
    found = compare_with_first("accuracy", y, [a, b, c, b, a], np.arange(300))
    assert [f.p_value for f in found] == [*expected, expected[1], 1.0]
    assert dataclasses.astuple(found[0]) == dataclasses.astuple(found[4]) == (0.0, 0.0, 0.0, 1.0)
    assert compare_with_first("accuracy", y, [a], np.arange(300)) == found[:1]
