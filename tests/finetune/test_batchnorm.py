"""BatchNorm folded into convolutions: nothing but the way of computing changes."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.embed.backbones.registry import get_backbone
from tlx.finetune.batchnorm import fold_batchnorm
from tlx.lazy_imports import import_keras, import_tensorflow


@pytest.fixture(scope="module")
def keras():
    return import_keras()


def convolutions_with(norm, keras):
    """Return one model with every kind of convolution, each before a layer that `norm` makes."""
    layers = keras.layers
    pixels = keras.Input((12, 10, 6))
    x = norm()(layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(pixels))
    x = norm()(layers.Conv2D(12, 1)(layers.ReLU()(x)))
    x = norm()(layers.Conv2D(8, (1, 1), strides=2, name="strided")(x))
    x = norm()(layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", use_bias=False)(x))
    x = norm()(layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(x))
    x = norm()(layers.Conv2D(4, 1, groups=2)(x))
    return keras.Model(pixels, layers.Dense(3)(layers.Flatten()(x)))


def random_weights(model, seed=0):
    """Fill a model with weights between 0.2 and 1, so that no normalisation is the identity."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.2, 1, w.shape).astype("f4") for w in model.get_weights()])


def count(model, kind) -> int:
    return sum(type(layer) is kind for layer in model.layers)


def outputs_and_gradients(model, variables, x):
    tf = import_tensorflow()
    with tf.GradientTape() as tape:
        outputs = model(x, training=False)
        loss = tf.reduce_sum(outputs * np.float32([1, -2, 3]))
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    return np.asarray(outputs), [np.asarray(gradient) for gradient in gradients]


@pytest.mark.parametrize(
    "options", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}, {"axis": 3}], ids=str
)
def test_outputs_and_gradients_are_those_of_the_model(keras, options) -> None:
    model = convolutions_with(lambda: keras.layers.BatchNormalization(**options), keras)
    random_weights(model)
    folded = fold_batchnorm(model)
    assert count(folded, keras.layers.BatchNormalization) == 0
    x = np.random.default_rng(1).normal(size=(5, 12, 10, 6)).astype(np.float32)
    variables = model.trainable_variables
    expected, slopes = outputs_and_gradients(model, variables, x)
    found, folded_slopes = outputs_and_gradients(folded, variables, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(folded_slopes, slopes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * max(1.0, np.abs(b).max()))


def test_weights_are_shared_not_copied(keras) -> None:
    model = convolutions_with(keras.layers.BatchNormalization, keras)
    folded = fold_batchnorm(model)
    x = np.ones((1, 12, 10, 6), np.float32)
    folded(x)
    random_weights(model)
    np.testing.assert_allclose(
        np.asarray(folded(x)), np.asarray(model(x, training=False)), rtol=1e-4
    )


def _activated(layers, x):
    return layers.BatchNormalization()(layers.Conv2D(3, 1, activation="relu")(x))


def _used_twice(layers, x):
    x = layers.Conv2D(3, 1)(x)
    return layers.Add()([x, layers.BatchNormalization()(x)])


def _shared_norm(layers, x):
    norm = layers.BatchNormalization()
    return norm(layers.Conv2D(3, 1)(norm(layers.Conv2D(3, 1)(x))))


def _shared_convolution(layers, x):
    conv = layers.Conv2D(3, 1)
    return conv(layers.BatchNormalization()(conv(x)))


def _other_axis(layers, x):
    return layers.BatchNormalization(axis=1)(layers.Conv2D(3, 1)(x))


def _norm_first(layers, x):
    return layers.Conv2D(3, 1)(layers.BatchNormalization()(x))


@pytest.mark.parametrize(
    "build",
    [_activated, _used_twice, _shared_norm, _shared_convolution, _other_axis, _norm_first],
)
def test_what_cannot_be_folded_stays(keras, build) -> None:
    pixels = keras.Input((4, 4, 3))
    model = keras.Model(pixels, build(keras.layers, pixels))
    random_weights(model)
    folded = fold_batchnorm(model)
    assert count(folded, keras.layers.BatchNormalization) == 1
    x = np.random.default_rng(1).normal(size=(2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(
        np.asarray(folded(x)), np.asarray(model(x, training=False)), rtol=1e-4, atol=1e-5
    )


FAST = ("efficientnet-lite0",)
SLOW = (
    "mobilenetv2",
    "resnet50",
    "efficientnetv2b0",
    "convnexttiny",
    "densenet121",
    "inceptionv3",
    "xception",
)


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_backbones_compute_the_same(keras, name) -> None:
    model = get_backbone(name, "none").build(96)
    rng = np.random.default_rng(0)
    norms = [layer for layer in model.layers if type(layer) is keras.layers.BatchNormalization]
    for norm in norms:
        norm.set_weights([w * rng.uniform(0.8, 1.2, w.shape) for w in norm.get_weights()])
    folded = fold_batchnorm(model)
    images = rng.uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    whole = np.asarray(model(images, training=False))
    difference = np.abs(np.asarray(folded(images, training=False)) - whole).max()
    assert difference <= 1e-5 * max(1.0, float(np.abs(whole).max()))
    kept = {"convnexttiny": 0, "densenet121": 62, "xception": 34}.get(name, 0)
    assert count(folded, keras.layers.BatchNormalization) == kept
