from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.scoring.metrics import (
    Metric,
    confusion_matrix,
    influences,
    score,
)
from tlx.errors import DataError

NAMES = ["accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc"]


def _sample(n, classes, seed=0, signal=1.5, ties=False, weights=None):
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, size=n, p=weights)
    logits = rng.standard_normal((n, classes)) + signal * np.eye(classes)[y]
    if ties:
        logits = np.round(logits)
    return y, _softmax(logits)


def _softmax(logits):
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _reference(y, p):
    from sklearn import metrics

    predicted = p.argmax(axis=1)
    area = (
        metrics.roc_auc_score(y, p[:, 1])
        if p.shape[1] == 2
        else metrics.roc_auc_score(y, p, multi_class="ovr")
    )
    return {
        "accuracy": metrics.accuracy_score(y, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
        "macro_f1": metrics.f1_score(y, predicted, average="macro"),
        "log_loss": metrics.log_loss(y, p, labels=np.arange(p.shape[1])),
        "roc_auc": area,
    }


def _wilson(k, n):
    z = 1.959963984540054
    m = k / n
    centre = (m + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(m * (1 - m) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def _widths(metrics):
    return {name: m.high - m.low for name, m in metrics.items()}


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("ties", [False, True])
def test_values_are_those_of_scikit_learn(classes, ties):
    y, p = _sample(300, classes, ties=ties)
    metrics = score(y, p)
    assert list(metrics) == NAMES
    for name, value in _reference(y, p).items():
        assert metrics[name].value == pytest.approx(value, abs=1e-12)


def test_macro_f1_counts_classes_that_are_only_predicted():
    from sklearn.metrics import f1_score

    y = np.array([0, 0, 1, 1])
    p = np.eye(4)[[0, 2, 1, 0]]
    expected = f1_score(y, p.argmax(axis=1), average="macro")
    assert score(y, p)["macro_f1"].value == pytest.approx(expected)


def test_log_loss_of_a_sure_error_is_finite_and_that_of_scikit_learn():
    from sklearn.metrics import log_loss

    y, p = np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]]
    metric = score(y, p)["log_loss"]
    assert metric.value == pytest.approx(log_loss(y, p))
    assert 0 < metric.low < metric.value < metric.high < 36.1


def test_absent_class_is_left_out_of_the_area():
    from sklearn.metrics import roc_auc_score

    y, p = _sample(200, 2)
    wide = np.column_stack([p * 0.9, np.full(200, 0.1)])
    expected = np.mean([roc_auc_score(y == c, wide[:, c]) for c in (0, 1)])
    assert score(y, wide)["roc_auc"].value == pytest.approx(expected)


def test_area_of_one_class_is_left_out():
    assert list(score(np.zeros(5, int), np.full((5, 2), 0.5))) == NAMES[:-1]


def test_accuracy_has_the_interval_of_wilson():
    y, p = _sample(137, 3)
    right = int((p.argmax(axis=1) == y).sum())
    metric = score(y, p)["accuracy"]
    assert (metric.low, metric.high) == pytest.approx(_wilson(right, 137))


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "weights"), [(2, [0.7, 0.3]), (5, None)])
@pytest.mark.parametrize("clustered", [False, True])
def test_widths_agree_with_the_bootstrap(classes, weights, clustered):
    y, p = _sample(600, classes, seed=3, weights=weights)
    groups = np.arange(600) // 3 if clustered else np.arange(600)
    if clustered:  # dependent, but not the same
        noise = np.random.default_rng(0).standard_normal((600, classes))
        first = groups * 3
        y, p = y[first], _softmax(np.log(p[first]) + 0.3 * noise)
    members = np.split(np.arange(600), np.flatnonzero(np.diff(groups)) + 1)
    rng = np.random.default_rng(1)
    draws = []
    for _ in range(400):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        draws.append([m.value for m in score(y[rows], p[rows]).values()])
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    widths = _widths(score(y, p, groups))
    loss = NAMES.index("log_loss")  # wider: it allows for mistakes not seen
    assert 0.9 < widths.pop("log_loss") / (high - low)[loss] < 1.35
    np.testing.assert_allclose(list(widths.values()), np.delete(high - low, loss), rtol=0.15)


@pytest.mark.parametrize("classes", [2, 4])
def test_intervals_cover_the_truth(classes):
    y, p = _sample(200_000, classes, seed=9)
    truth = score(y, p)
    inside = dict.fromkeys(NAMES, 0)
    for start in range(0, 60_000, 150):
        metrics = score(y[start : start + 150], p[start : start + 150])
        for name, m in metrics.items():
            inside[name] += m.low <= truth[name].value <= m.high
    assert all(count / 400 >= 0.92 for count in inside.values()), inside
    assert all(inside[name] / 400 <= 0.985 for name in NAMES if name != "log_loss"), inside


def test_copies_in_groups_change_nothing():
    y, p = _sample(150, 3)
    plain = score(y, p)
    groups = np.tile(np.arange(150), 4)
    copies = score(np.tile(y, 4), np.tile(p, (4, 1)), groups)
    for name in NAMES:
        a, b = plain[name], copies[name]
        assert (b.value, b.low, b.high) == pytest.approx((a.value, a.low, a.high))


def test_copies_taken_for_independent_images_make_intervals_too_narrow():
    y, p = _sample(150, 3)
    y, p = np.tile(y, 4), np.tile(p, (4, 1))
    grouped, free = _widths(score(y, p, np.tile(np.arange(150), 4))), _widths(score(y, p))
    assert all(free[name] < 0.6 * grouped[name] for name in NAMES)


def test_groups_may_be_of_any_type():
    y, p = _sample(60, 2)
    number = np.arange(60) // 2
    name = np.array([f"patient {i}" for i in number])
    by_number, by_name = score(y, p, number), score(y, p, name)
    for key in NAMES:
        assert by_number[key].low == pytest.approx(by_name[key].low)


@pytest.mark.parametrize("classes", [2, 4])
def test_perfect_score(classes):
    y = np.arange(40) % classes
    metrics = score(y, np.eye(classes)[y])
    low, _ = _wilson(40, 40)
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        m = metrics[name]
        assert (m.value, m.high) == (1, 1)
        assert low - 0.02 < m.low < low + 1e-9  # of 40 images, whatever their classes
    smallest = 40 // classes
    assert _wilson(smallest, smallest)[0] < metrics["roc_auc"].low < 0.99
    assert metrics["log_loss"].value == pytest.approx(0, abs=1e-12)


def test_all_wrong():
    y = np.arange(20) % 2
    metric = score(y, np.eye(2)[1 - y])["accuracy"]
    assert (metric.value, metric.low) == pytest.approx((0, 0), abs=1e-12)
    assert 0.1 < metric.high < 0.2


def test_one_image_a_class():
    y = np.arange(4)
    metrics = score(y, np.eye(4)[[0, 1, 2, 0]])
    low, high = _wilson(3, 4)
    assert (metrics["accuracy"].low, metrics["accuracy"].high) == pytest.approx((low, high))
    assert metrics["balanced_accuracy"].value == 0.75
    assert metrics["balanced_accuracy"].low < low
    assert high < metrics["balanced_accuracy"].high < 1
    assert metrics["macro_f1"].high - metrics["macro_f1"].low > 0.3


def test_one_image():
    metrics = score(np.array([1]), np.array([[0.4, 0.6]]))
    assert list(metrics) == NAMES[:-1]
    assert metrics["accuracy"].low < 0.3
    assert metrics["log_loss"].low == 0
    assert metrics["log_loss"].high > 30


def test_intervals_hold_their_values():
    for seed in range(30):
        y, p = _sample(12, 3, seed, signal=4)
        for m in score(y, p, np.arange(12) // 2).values():
            assert m.low <= m.value <= m.high
            assert np.isfinite([m.low, m.value, m.high]).all()


def test_metrics_cannot_be_changed():
    with pytest.raises(AttributeError):
        Metric(0.5, 0.4, 0.6).value = 0.9  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        (np.zeros(3, int), np.ones((2, 2)), "do not fit together"),
        (np.zeros(0, int), np.ones((0, 2)), "do not fit together"),
        (np.array([0, 2]), np.ones((2, 2)), "classes 0 to 2"),
    ],
)
def test_what_does_not_fit_together_is_refused(y, p, message):
    with pytest.raises(DataError, match=message):
        score(y, p)


def test_confusion_matrix_is_that_of_scikit_learn():
    from sklearn.metrics import confusion_matrix as expected

    y, p = _sample(100, 4)
    predicted = p[:, :3].argmax(axis=1)
    matrix = confusion_matrix(y, predicted, 5)
    assert matrix.dtype.kind == "i"
    np.testing.assert_array_equal(matrix, expected(y, predicted, labels=range(5)))


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("metric", NAMES)
def test_an_influence_is_what_an_image_more_changes(metric, classes):
    """A hundredth of an image more, by its influence, against counting all others 100 times."""
    y, p = _sample(60, classes)
    value, influence = influences(metric, y, p)
    assert value == pytest.approx(score(y, p)[metric].value)
    assert influence.sum() == pytest.approx(0, abs=1e-9)
    for image in range(5):
        rows = np.append(np.repeat(np.arange(60), 100), image)
        changed = score(y[rows], p[rows])[metric].value - value
        assert changed == pytest.approx(influence[image] / 6001, abs=2e-6)


def test_an_area_of_one_class_has_no_influences():
    assert influences("roc_auc", np.zeros(3, int), np.full((3, 2), 0.5)) is None
