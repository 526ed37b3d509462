"""The dense head. Training imports TensorFlow, so few heads are trained and many things asked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tlx.classify.heads.arrays import head_parts
from tlx.classify.heads.dense import DensePredictor
from tlx.classify.heads.inner import inner_folds
from tlx.classify.heads.linear import LinearPredictor
from tlx.classify.heads.predictors import load_predictor
from tlx.classify.heads.registry import fit_grid
from tlx.errors import FitError
from tlx.heads import DenseHead
from tlx.lazy_imports import import_keras


def layers(*widths: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(a, b)).astype(np.float32), rng.normal(size=b).astype(np.float32))
        for a, b in pairwise(widths)
    ]


def keras_probabilities(data: bytes, X: np.ndarray, folder) -> np.ndarray:
    keras = import_keras()
    (folder / "head.keras").write_bytes(data)
    p = keras.models.load_model(folder / "head.keras", safe_mode=True).predict(X, verbose=0)
    return p if p.shape[1] > 1 else np.concatenate([1 - p, p], axis=1)


@pytest.mark.slow
def test_a_hidden_layer_learns_what_no_line_can(tmp_path):
    """XOR, at scales that only scaled features bear; kept as arrays and as a Keras model."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4)).astype(np.float32)
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(int)
    X = X * np.array([1e-2, 1e2, 1, 1], np.float32) + np.array([1, -500, 0, 0], np.float32)
    weights = np.ones((1, 600))
    weights[0, 400:] = 0
    options = {"hidden": [32], "dropout": 0.1, "output": "sigmoid"}
    (step,) = fit_grid("dense", X, y, weights, **options)
    assert step.params == options
    p = step.proba(0, np.arange(400, 600))
    assert (p.argmax(axis=1) == y[400:]).mean() > 0.9
    head = step.head(0)
    assert isinstance(head, DensePredictor)
    assert head.linear() is None
    parts = head.parts()
    assert set(parts) == {"head.h5", "head.keras"}
    (tmp_path / "head.h5").write_bytes(parts["head.h5"])
    again = load_predictor(tmp_path, parts)
    np.testing.assert_allclose(again.predict_proba(X[400:]), p, atol=1e-6)
    np.testing.assert_allclose(
        keras_probabilities(parts["head.keras"], X[400:], tmp_path), p, atol=1e-4
    )


def test_without_hidden_layers_it_is_linear(draw, tmp_path):
    X, y = draw(120, 3, spread=1.0)
    head = DenseHead().fit(X, np.array(["a", "b", "c"])[y])
    assert (head.predict(X) == np.array(["a", "b", "c"])[y]).mean() > 0.8
    linear = head.predictor_.linear()
    assert isinstance(linear, LinearPredictor)
    np.testing.assert_allclose(linear.predict_proba(X), head.predict_proba(X), atol=1e-6)
    parts = head.predictor_.parts()
    (tmp_path / "head.h5").write_bytes(parts["head.h5"])
    assert isinstance(load_predictor(tmp_path, parts), LinearPredictor)
    np.testing.assert_allclose(
        keras_probabilities(parts["head.keras"], X, tmp_path), head.predict_proba(X), atol=1e-5
    )


def test_seeds_repeat_and_rows_held_out_have_no_influence(draw):
    X, y = draw(80, 2)
    weights = np.ones((1, 80))
    weights[0, :30] = 0
    changed = X.copy()
    changed[:30] = 1e6
    rows = np.arange(30, 80)
    runs = [
        next(fit_grid("dense", features, y, weights, seed=seed, hidden=[8])).proba(0, rows)
        for features, seed in ((X, 0), (changed, 0), (X, 1))
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3


def test_rows_that_chose_the_epoch_are_learned_from_in_the_end(draw):
    X, y = draw(60, 2)
    held = inner_folds(y, np.arange(60), 5, 0)[0] == 0
    moved = X.copy()
    moved[np.flatnonzero(held)[0]] *= 1.01
    one, other = (DenseHead().fit(features, y).predict_proba(X[~held]) for features in (X, moved))
    assert np.abs(one - other).max() > 1e-6


def test_few_and_uneven_images_and_a_constant_feature(draw):
    X, y = draw(10)
    y[:] = 0
    y[:2] = 1
    X[:, 0] = 0.1
    p = DenseHead(class_weight="balanced").fit(X, y).predict_proba(X)
    assert np.isfinite(np.log(p)).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    one = DenseHead().fit(X[[0, 2]], y[[0, 2]])  # nothing can be held out
    assert one.predict(X[[0, 2]]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": [0]}, r"hidden = \[0\]"),
        ({"hidden": [8], "dropout": 1.0}, r"dropout = 1\.0"),
        ({"dropout": 0.5}, "without hidden layers"),
        ({"output": "relu"}, "unknown output: 'relu'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message, draw):
    X, y = draw(20)
    with pytest.raises(FitError, match=message):
        DenseHead(**options).fit(X, y)


def test_a_sigmoid_is_for_two_classes(draw):
    X, y = draw(30, 3)
    with pytest.raises(FitError, match="a sigmoid output for 3 classes"):
        DenseHead(output="sigmoid").fit(X, y)


# What needs no TensorFlow


def test_scaling_scales_the_logits():
    head = DensePredictor(layers(5, 4, 3))
    X = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    p, q = head.predict_proba(X), head.scaled(0.5).predict_proba(X)
    expected = np.sqrt(p) / np.sqrt(p).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(q, expected, rtol=1e-5)


@pytest.mark.parametrize("units", [(5, 1), (5, 4, 1), (5, 4, 6, 3)])
def test_arrays_survive_the_file(units, tmp_path):
    head = DensePredictor(layers(*units))
    arrays = {}
    for i, (weights, bias) in enumerate(head.layers):
        arrays |= {f"weights_{i}": weights, f"bias_{i}": bias}
    (tmp_path / "head.h5").write_bytes(head_parts("dense", arrays)["head.h5"])
    X = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    again = load_predictor(tmp_path, {"head.h5": (tmp_path / "head.h5").read_bytes()})
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
    assert (again.n_features, again.n_classes) == (5, max(2, units[-1]))


def test_layers_that_do_not_fit_are_refused():
    (first, second), (third, fourth) = layers(5, 4)[0], layers(3, 2)[0]
    arrays = {"weights_0": first, "bias_0": second, "weights_1": third, "bias_1": fourth}
    for wrong in (arrays, {}):
        with pytest.raises(ValueError, match="its layers do not fit"):
            DensePredictor.from_arrays(wrong)
