import numpy as np
import pytest

from tlx.classify.scoring.label_noise import LabelNoise, fit_label_noise


def drawn(rate, n=2000, seed=0, spread=0.3):
    """Return values, labels and true classes; `rate` is the share of each class that is wrong."""
    rng = np.random.default_rng(seed)
    C = len(rate)
    true = rng.integers(C, size=n)
    values = np.eye(C)[true] + rng.normal(0, spread, (n, C))
    other = (true + rng.integers(1, C, n)) % C
    return values, np.where(rng.random(n) < np.array(rate)[true], other, true), true


@pytest.mark.parametrize("rate", [[0.05, 0.05], [0.2, 0.0], [0.1, 0.02, 0.2], [0.3, 0.3, 0.3]])
def test_the_rate_of_each_class_is_found(rate):
    noise = fit_label_noise(*drawn(rate, 4000)[:2])
    assert noise.rate == pytest.approx(rate, abs=0.03)


def test_without_wrong_labels_none_is_suspect():
    values, y, _ = drawn([0.0, 0.0, 0.0])
    wrong = 1 - fit_label_noise(values, y).true_classes(values, y)[np.arange(len(y)), y]
    assert (wrong > 0.2).sum() <= 1


def test_of_labels_told_to_be_wrong_with_a_probability_that_share_is():
    told, true = [], []
    for seed in range(20):
        values, y, truth = drawn([0.1, 0.05, 0.1], seed=seed, spread=0.4)
        p = fit_label_noise(values, y).true_classes(values, y)
        told.append(1 - p[np.arange(len(y)), y])
        true.append(truth != y)
    told, true = np.concatenate(told), np.concatenate(true)
    for low, high in [(0.05, 0.3), (0.3, 0.7), (0.7, 0.95), (0.95, 1.0)]:
        some = (told >= low) & (told <= high)
        assert some.sum() > 100
        assert true[some].mean() == pytest.approx(told[some].mean(), abs=0.06)


def test_true_classes_follow_the_rule_of_bayes():
    noise = LabelNoise(np.array([0.1, 0.2, 0.3]), 1.0, np.zeros(3))
    p = np.array([[0.5, 0.3, 0.2]])
    found = noise.true_classes(np.log(p), np.array([1]))[0]
    joint = np.array([0.5 * 0.1 / 2, 0.3 * 0.8, 0.2 * 0.3 / 2])
    assert found == pytest.approx(joint / joint.sum(), abs=1e-6)


def test_of_many_rows_some_are_enough():
    values, y, _ = drawn([0.1, 0.1], 50_000)
    assert fit_label_noise(values, y).rate == pytest.approx([0.1, 0.1], abs=0.02)


def test_few_images_and_a_class_of_one_do_no_harm():
    values, y = np.eye(3)[[0, 0, 1, 1, 2]] * 1.0, np.array([0, 0, 1, 1, 2])
    assert np.isfinite(fit_label_noise(values, y).true_classes(values, y)).all()
