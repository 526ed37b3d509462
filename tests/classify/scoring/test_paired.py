"""Paired tests, against SciPy, scikit-learn and plain loops."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tlx.classify.heads.linear import softmax
from tlx.classify.scoring.metrics import score
from tlx.classify.scoring.paired import compare_paired, holm

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


def test_copies_change_neither_p_value_nor_interval() -> None:
    y, a, b = two(150, worse=1.0)
    alone = compare_paired("accuracy", y, a, b, np.arange(150))
    four = [np.repeat(x, 4, axis=0) for x in (y, a, b, np.arange(150))]
    copied = compare_paired("accuracy", *four)
    assert copied.p_value == pytest.approx(alone.p_value)
    assert copied.value == alone.value
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.03)


def test_flips_of_unequal_groups_are_counted_exactly() -> None:
    """Group totals 3, 1, 1, -2: of 16 signs, those with a sum of 3 or more in size."""
    y = np.zeros(7, int)
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    a = np.array([right] * 5 + [wrong] * 2)
    b = np.array([wrong] * 5 + [right] * 2)
    groups = np.array([0, 0, 0, 1, 2, 3, 3])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    expected = (np.abs(signs.T @ [3, 1, 1, 2]) >= 3).mean()
    assert compare_paired("accuracy", y, a, b, groups).p_value == pytest.approx(expected)


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
    found = compare_paired(metric, y, a, b, groups, resamples=50)
    expected = score(y, a)[metric].value - score(y, b)[metric].value
    assert found.value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS[1:])
def test_bootstrap_is_that_of_a_plain_loop(metric: str) -> None:
    """Resampling images by hand, with other draws, gives the same interval within its noise."""
    y, a, b = two(200, 3, worse=1.5)
    found = compare_paired(metric, y, a, b, np.arange(200))
    rng = np.random.default_rng(1)
    values = []
    for _ in range(300):
        rows = rng.integers(0, 200, 200)
        values.append(score(y[rows], a[rows])[metric].value - score(y[rows], b[rows])[metric].value)
    low, high = np.quantile(values, [0.025, 0.975])
    width = high - low
    assert found.low == pytest.approx(low, abs=0.15 * width)
    assert found.high == pytest.approx(high, abs=0.15 * width)


@pytest.mark.parametrize("metric", METRICS)
def test_a_worse_classifier_is_found_out(metric: str) -> None:
    y, a, b = two(600, 3, worse=3.0)
    found = compare_paired(metric, y, a, b, np.arange(600))
    assert found.p_value < 0.01
    assert found.low > 0 or metric == "log_loss"
    assert found.high < 0 or metric != "log_loss"


def test_equal_seeds_give_equal_numbers() -> None:
    y, a, b = two(100, worse=1.0)
    runs = [compare_paired("macro_f1", y, a, b, np.arange(100), seed=3) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0] != compare_paired("macro_f1", y, a, b, np.arange(100), seed=4)


@pytest.mark.parametrize("metric", METRICS)
def test_interval_of_no_difference_holds_zero_in_about_19_of_20(metric: str) -> None:
    held = 0
    for seed in range(100):
        y, a, b = two(120, seed=seed)
        found = compare_paired(metric, y, a, b, np.arange(120), resamples=200)
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
