"""Figures of classes and their means: intervals that know how few images a class has."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.scoring.classes import (
    balanced_accuracy,
    class_reports,
    f1_counts,
    macro_f1,
    mean_share,
    recall_counts,
)
from tlx.classify.scoring.intervals import wilson


def predict(rng, y, right):
    """Return predictions: those of class c are right with probability right[c]."""
    C = len(right)
    hit = rng.random(len(y)) < np.array(right)[y]
    return np.where(hit, y, (y + rng.integers(1, C, len(y))) % C)


def mean_f1(sizes, right):
    C = len(sizes)
    table = (
        np.array(
            [[right[c] if c == k else (1 - right[c]) / (C - 1) for k in range(C)] for c in range(C)]
        )
        * np.array(sizes)[:, None]
    )
    return np.mean(2 * np.diag(table) / (table.sum(axis=0) + table.sum(axis=1)))


@pytest.mark.parametrize(
    ("sizes", "right"),
    [
        ((297, 3), (0.99, 0.7)),
        ((45, 5), (0.95, 0.8)),
        ((25, 25), (0.9, 0.8)),
        ((200, 40, 20, 5), (0.97, 0.9, 0.8, 0.6)),
    ],
)
def test_the_intervals_hold_the_truth_of_unequal_classes(sizes, right):
    """At 297 to 3 images the interval from the spread held it in 38%."""
    y, C = np.repeat(np.arange(len(sizes)), sizes), len(sizes)
    group, held = np.arange(len(y)), np.zeros(2)
    truths = np.mean(right), mean_f1(sizes, right)
    for seed in range(100):
        predicted = predict(np.random.default_rng(seed), y, right)
        found = [f(y, predicted, C, group) for f in (balanced_accuracy, macro_f1)]
        held += [m.low <= t <= m.high for m, t in zip(found, truths, strict=True)]
    assert (held >= 92).all(), held


def test_the_mean_of_one_share_has_the_interval_of_wilson():
    for share, n in [(0.0, 3), (1.0, 5), (0.6, 10), (0.99, 1000)]:
        a, b = mean_share(np.array([share]), np.array([n])), wilson(share, n)
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=1e-6)


def test_a_hundred_small_classes_tell_as_much_as_their_images_together():
    perfect = mean_share(np.ones(100), np.full(100, 5.0))
    assert wilson(1.0, 500).low - 0.003 < perfect.low < 1


def test_the_small_class_rules_the_interval():
    equal = mean_share(np.array([0.99, 1.0]), np.array([150.0, 150.0]))
    unequal = mean_share(np.array([0.99, 1.0]), np.array([297.0, 3.0]))
    assert equal.low > 0.96
    assert unequal.low < 0.75


def test_groups_across_classes_count_together():
    y = np.tile([0, 1], 50)
    predicted = np.where(np.arange(100) < 20, 1 - y, y)
    apart = balanced_accuracy(y, predicted, 2, np.arange(100))
    paired = balanced_accuracy(y, predicted, 2, np.arange(100) // 10)
    assert paired.high - paired.low > 2 * (apart.high - apart.low)


def test_reports_are_scikit_learns_with_intervals() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    p = rng.dirichlet([1, 1, 1], 200) + 0.4 * np.eye(3)[y]
    reports = class_reports(y, p, np.arange(200), ("a", "b", "c"))
    expected = precision_recall_fscore_support(y, p.argmax(axis=1))
    for c, report in enumerate(reports):
        for figure, value in zip(
            (report.precision, report.recall, report.f1), expected, strict=False
        ):
            assert figure is not None
            assert figure.value == pytest.approx(value[c])
            assert figure.low < figure.value < figure.high
        assert report.n == expected[3][c]
    folded = class_reports(y, p, np.arange(200), ("a", "b", "c"), n_folds=5)
    assert folded[0].recall is not None
    assert reports[0].recall is not None
    assert folded[0].recall.low < reports[0].recall.low


def test_a_class_without_images_has_no_recall():
    p = np.eye(3)[[0, 1, 1]]
    reports = class_reports(np.array([0, 0, 0]), p, np.arange(3), ("a", "b", "c"))
    assert [r.recall is None for r in reports] == [False, True, True]
    assert [r.precision is None for r in reports] == [False, False, True]
    assert [r.f1 is None for r in reports] == [False, False, True]


@pytest.mark.parametrize("size", [20, 100])
def test_intervals_of_a_class_hold_the_truth(size):
    truth = {"recall": 0.8, "precision": 0.8 / 0.9, "f1": 1.6 / 1.9}  # of class 1 of two as large
    held = dict.fromkeys(truth, 0)
    y = np.repeat([0, 1], size)
    for seed in range(100):
        predicted = predict(np.random.default_rng(seed), y, (0.9, 0.8))
        report = class_reports(y, np.eye(2)[predicted], np.arange(2 * size), ("a", "b"))[1]
        for name in held:
            figure = getattr(report, name)
            held[name] += figure.low <= truth[name] <= figure.high
    assert min(held.values()) >= 92, held


@pytest.mark.parametrize("counts", [recall_counts, f1_counts])
def test_influences_have_no_mean(counts):
    rng = np.random.default_rng(0)
    y, predicted = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    value, influence = counts(y, predicted, 4).influences(60)
    assert 0 < value < 1
    assert influence.sum() == pytest.approx(0, abs=1e-9)
