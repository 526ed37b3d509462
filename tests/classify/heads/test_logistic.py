from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.classify.heads.logistic import logistic_path
from tlx.classify.heads.solver import Solution
from tlx.errors import FitError


def _data(n, d, classes, seed=0, noise=0.1):
    """Non-negative features with a decaying spectrum, and some labels that are wrong."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    latent = rng.standard_normal((classes, d))[y] + 1.5 * rng.standard_normal((n, d))
    X = latent * np.arange(1, d + 1) ** -0.5 @ rng.standard_normal((d, d))
    X = np.maximum(X, 0).astype(np.float32)
    wrong = rng.random(n) < noise
    wrong[:classes] = False
    y[wrong] = rng.integers(classes, size=wrong.sum())
    return X, y


def _last(*args, **options) -> Solution:
    return list(logistic_path(*args, **options))[-1]


def _probabilities(logits):
    """Of all classes, from one logit or from many; float64."""
    logits = logits.astype(np.float64)
    if logits.shape[-1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _reference(X, y, weight, C, pareto=True):
    """scikit-learn on the rows of one problem; probabilities of all rows and the raw weights."""
    from sklearn.linear_model import LogisticRegression

    X, rows = X.astype(np.float64), weight > 0
    mean, scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
    if pareto:
        mean, std = X[rows].mean(axis=0), X[rows].std(axis=0)
        varies = std > 1e-12
        scale[varies] = np.sqrt(std * std[varies].mean())[varies]
    Z = (X - mean) / scale
    model = LogisticRegression(C=C, tol=1e-8, max_iter=20_000)
    model.fit(Z[rows], y[rows], sample_weight=weight[rows])
    return model.predict_proba(Z), model.coef_.T / scale[:, None]


def _folds(n, count=3, seed=0):
    fold = np.random.default_rng(seed).permutation(np.arange(n) % count)
    return (fold != np.arange(count)[:, None]).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(("n", "d"), [(300, 20), (120, 400)])
def test_agrees_with_scikit_learn(classes, n, d):
    X, y = _data(n, d, classes)
    weight = _folds(n)
    for point in logistic_path(X, y, weight, [1e-3, 1e-1, 1.0], tol=1e-6):
        assert point.converged.all()
        probabilities = _probabilities(point.logits)
        for fold, w in enumerate(weight):
            expected, coef = _reference(X, y, w, point.C)
            np.testing.assert_allclose(probabilities[fold], expected, atol=1e-3)
            error = np.linalg.norm(point.coef[fold] - coef) / np.linalg.norm(coef)
            assert error < 1e-2


@pytest.mark.parametrize("classes", [2, 4])
def test_default_tolerance_gives_probabilities_close_to_the_optimum(classes):
    X, y = _data(300, 60, classes)
    weight = _folds(300)
    probabilities = _probabilities(_last(X, y, weight, np.logspace(-4, 0, 5)).logits)
    for fold, w in enumerate(weight):
        expected, _ = _reference(X, y, w, 1.0)
        np.testing.assert_allclose(probabilities[fold], expected, atol=0.02)


def test_path_goes_from_strong_to_weak_regularisation():
    X, y = _data(60, 5, 3)
    path = list(logistic_path(X, y, np.ones((1, 60)), [1.0, 1e-3, 1e-1]))
    assert [point.C for point in path] == [1e-3, 1e-1, 1.0]
    norms = [float(np.linalg.norm(point.coef)) for point in path]
    assert norms == sorted(norms)


def test_points_do_not_change_when_the_path_goes_on():
    X, y = _data(60, 5, 3)
    path = logistic_path(X, y, np.ones((1, 60)), [1e-3, 1.0])
    first = next(path)
    before = first.logits.copy(), first.coef.copy(), first.intercept.copy()
    next(path)
    for kept, now in zip(before, (first.logits, first.coef, first.intercept), strict=True):
        np.testing.assert_array_equal(kept, now)


@pytest.mark.parametrize(("classes", "columns"), [(2, 1), (3, 3)])
def test_logits_are_those_of_the_raw_features_for_every_row(classes, columns):
    X, y = _data(90, 30, classes)
    X = 100 + 7 * X
    weight = _folds(90)
    point = _last(X, y, weight, np.logspace(-4, 1, 8))
    assert point.coef.shape == (3, 30, columns)
    assert point.intercept.shape == (3, columns)
    assert point.logits.shape == (3, 90, columns)
    assert {a.dtype for a in (point.coef, point.intercept, point.logits)} == {np.dtype("float32")}
    raw = X.astype(np.float64) @ point.coef + point.intercept[:, None]
    np.testing.assert_allclose(point.logits, raw, atol=2e-3)


def test_held_out_rows_have_no_influence():
    X, y = _data(120, 15, 3)
    weight = _folds(120)[:1]
    other, held_out = X.copy(), weight[0] == 0
    other[held_out] = 3 + 5 * other[held_out][::-1]
    a = _last(X, y, weight, [0.1], tol=1e-6)
    b = _last(other, y, weight, [0.1], tol=1e-6)
    np.testing.assert_allclose(a.coef, b.coef, atol=1e-4 * np.abs(a.coef).max())


def test_problems_do_not_depend_on_their_company():
    X, y = _data(120, 15, 3)
    weight = _folds(120)
    together = _last(X, y, weight, [0.1], tol=1e-6)
    alone = _last(X, y, weight[1:2], [0.1], tol=1e-6)
    np.testing.assert_allclose(together.logits[1], alone.logits[0], atol=1e-3)


def test_constant_feature_gets_no_weight():
    X, y = _data(80, 6, 2)
    X[:, 2] = 0.1
    point = _last(X, y, np.ones((1, 80)), [1.0])
    assert (point.coef[0, 2] == 0).all()
    assert np.isfinite(point.logits).all()


def test_feature_constant_in_one_fold_gets_no_weight_there():
    X, y = _data(90, 6, 2)
    weight = _folds(90)
    X[:, 2] = 0.25
    X[np.flatnonzero(weight[0] == 0)[0], 2] = 40.0
    point = _last(X, y, weight, [1.0])
    assert point.coef[0, 2] == 0
    assert (point.coef[1:, 2] != 0).all()
    expected, _ = _reference(X, y, weight[0], 1.0)
    np.testing.assert_allclose(_probabilities(point.logits)[0], expected, atol=0.02)


def test_ten_rows():
    X, y = _data(10, 50, 2)
    weight = np.ones((1, 10), np.float32)
    point = _last(X, y, weight, [1e-2, 1.0], tol=1e-6)
    expected, _ = _reference(X, y, weight[0], 1.0)
    np.testing.assert_allclose(_probabilities(point.logits)[0], expected, atol=1e-3)


def test_very_imbalanced_classes():
    X, y = _data(600, 10, 2)
    y[:] = 0
    y[X[:, 0].argsort()[-6:]] = 1
    weight = np.ones((1, 600), np.float32)
    point = _last(X, y, weight, [1e-3, 1.0], tol=1e-6)
    expected, _ = _reference(X, y, weight[0], 1.0)
    np.testing.assert_allclose(_probabilities(point.logits)[0], expected, atol=2e-3)


@pytest.mark.parametrize("classes", [2, 5])
def test_separable_data_with_weak_regularisation(classes):
    rng = np.random.default_rng(0)
    y = np.arange(100) % classes
    X = 10 * np.eye(classes)[y] + rng.standard_normal((100, classes))
    point = _last(X, y, np.ones((1, 100)), [1e-4, 1.0, 1e6])
    assert point.converged.all()
    assert (_probabilities(point.logits)[0].argmax(axis=1) == y).all()
    assert np.isfinite(point.coef).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floating_types(dtype):
    X, y = _data(100, 12, 3)
    X = X.astype(np.float16)
    weight = _folds(100)
    expected = _last(X.astype(np.float32), y, weight, [0.1], tol=1e-6)
    point = _last(X.astype(dtype), y, weight, [0.1], tol=1e-6)
    np.testing.assert_allclose(point.logits, expected.logits, atol=1e-3)


def test_large_float16_features_do_not_overflow():
    X, y = _data(3000, 4, 2)
    X = (X * (60_000 / X.max())).astype(np.float16)
    assert np.isfinite(_last(X, y, np.ones((1, 3000)), [1.0]).logits).all()


def test_features_with_a_large_mean_lose_no_accuracy():
    X, y = _data(200, 8, 2)
    weight = _folds(200)
    shifted = X.astype(np.float64) + 1e5
    a = _last(X, y, weight, [1.0], tol=1e-6)
    b = _last(shifted, y, weight, [1.0], tol=1e-6)
    np.testing.assert_allclose(a.logits, b.logits, atol=1e-3)


def test_integer_weight_is_as_good_as_copies():
    X, y = _data(100, 12, 3)
    times = np.random.default_rng(0).integers(1, 4, size=100)
    options = {"pareto": False, "tol": 1e-6}
    a = _last(X, y, times[None].astype(np.float32), [0.1], **options)
    ones = np.ones((1, times.sum()))
    b = _last(X.repeat(times, axis=0), y.repeat(times), ones, [0.1], **options)
    np.testing.assert_allclose(a.logits[0], b.logits[0][times.cumsum() - 1], atol=1e-3)


def test_weights_agree_with_scikit_learn():
    X, y = _data(150, 10, 3)
    weight = np.random.default_rng(0).uniform(0.2, 5, size=(1, 150)).astype(np.float32)
    point = _last(X, y, weight, [0.3], tol=1e-6)
    expected, _ = _reference(X, y, weight[0], 0.3)
    np.testing.assert_allclose(_probabilities(point.logits)[0], expected, atol=1e-3)


def test_penalty_on_raw_features():
    X, y = _data(150, 10, 3)
    weight = np.ones((1, 150), np.float32)
    point = _last(X, y, weight, [0.01], pareto=False, tol=1e-6)
    expected, _ = _reference(X, y, weight[0], 0.01, pareto=False)
    np.testing.assert_allclose(_probabilities(point.logits)[0], expected, atol=1e-3)


def test_class_absent_from_a_fold_takes_no_part_in_it():
    X, y = _data(120, 10, 3)
    weight = np.stack([y != 2, y >= 0]).astype(np.float32)
    point = _last(X, y, weight, [0.01, 1.0], tol=1e-6)
    assert point.converged.all()
    probabilities = _probabilities(point.logits)[0]
    assert probabilities[:, 2].max() < 1e-6
    # Two logits share the penalty of one: half of it.
    expected, _ = _reference(X, y, weight[0], 2.0)
    np.testing.assert_allclose(probabilities[:, :2], expected, atol=1e-3)


def test_one_class_only_is_refused():
    X, y = _data(20, 3, 2)
    weight = np.stack([np.ones(20), y == 1])
    with pytest.raises(FitError, match="problem 1 have one class only: 1"):
        logistic_path(X, y, weight, [1.0])


def test_no_rows_at_all_are_refused():
    X, y = _data(20, 3, 2)
    with pytest.raises(FitError, match="one class only: none"):
        logistic_path(X, y, np.zeros((1, 20)), [1.0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value):
    X, y = _data(20, 3, 2)
    X[5, 1] = value
    with pytest.raises(FitError, match="feature 1 is not finite"):
        logistic_path(X, y, np.ones((1, 20)), [1.0])


@pytest.mark.parametrize("C", [0.0, -1.0, np.inf, np.nan])
def test_strength_that_is_not_positive_is_refused(C):
    X, y = _data(20, 3, 2)
    with pytest.raises(FitError, match="C = "):
        logistic_path(X, y, np.ones((1, 20)), [1.0, C])


def test_shapes_that_do_not_fit_together_are_refused():
    X, y = _data(20, 3, 2)
    with pytest.raises(FitError, match="do not fit together"):
        logistic_path(X, y, np.ones(20), [1.0])


def test_negative_weight_is_refused():
    X, y = _data(20, 3, 2)
    with pytest.raises(FitError, match="negative"):
        logistic_path(X, y, -np.ones((1, 20)), [1.0])


def test_too_few_iterations_are_told():
    X, y = _data(300, 60, 4)
    point = _last(X, y, np.ones((1, 300)), [10.0], tol=1e-6, max_iter=2)
    assert point.iterations == 2
    assert not point.converged.any()


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(8, 60),
    d=st.integers(1, 80),
    classes=st.integers(2, 4),
    exponent=st.floats(-4, 3),
    seed=st.integers(0, 1000),
)
def test_gradient_of_the_objective_vanishes(n, d, classes, exponent, seed):
    X, y = _data(n, d, classes, seed)
    weight = np.random.default_rng(seed).uniform(0.5, 2, size=(1, n)).astype(np.float32)
    C, tol = 10**exponent, 1e-4
    point = _last(X, y, weight, [C], pareto=False, tol=tol)
    assert point.converged.all() or exponent > 1  # float32 may have no more to give
    residual = _probabilities(point.logits)[0] - np.eye(classes)[y]
    residual = residual[:, -point.coef.shape[2] :] * weight[0][:, None] / weight.sum()
    centred = X - X.mean(axis=0)
    gradient = centred.T @ residual + point.coef[0] / (C * weight.sum())
    assert np.abs(gradient).max() < 1.05 * tol + 3e-5 * np.abs(X).max()
    assert np.abs(residual.sum(axis=0)).max() < 1.05 * tol + 1e-5


def test_importing_the_module_imports_neither_scipy_nor_scikit_learn():
    code = (
        "import sys, tlx.classify.heads.logistic, tlx.classify.scoring.metrics;"
        "assert not {'scipy', 'sklearn', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
