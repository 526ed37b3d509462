"""A head of any shape becomes layers that compute what it does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tlx.classify.heads.dense import DensePredictor
from tlx.classify.heads.linear import LinearPredictor, softmax
from tlx.errors import FitError
from tlx.finetune.cut import choose_cut
from tlx.finetune.export import whole_model
from tlx.finetune.seed import attach_head, check_parity, seed_head
from tlx.lazy_imports import import_keras

D = 5


@pytest.fixture(scope="module")
def features():
    """Return a network from pixels (8, 8, 3) to embeddings of length 5."""
    keras = import_keras()
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 128, offset=-1.0)(pixels)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="conv1")(x)
    x = keras.layers.Conv2D(D, 3, name="conv2")(x)
    model = keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pool_avg")(x))
    rng = np.random.default_rng(4)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.3, variable.shape))
    return model


@pytest.fixture(scope="module")
def pixels():
    """Return images (7, 8, 8, 3) of one colour each."""
    colours = np.random.default_rng(0).integers(0, 256, (7, 1, 1, 3), dtype=np.uint8)
    return np.tile(colours, (1, 8, 8, 1))


def drawn(*sizes: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Return dense layers between so many units."""
    rng = np.random.default_rng(1)
    shapes = pairwise(sizes)
    return tuple(
        (rng.normal(0, 1, shape).astype(np.float32), rng.normal(0, 1, shape[1]).astype(np.float32))
        for shape in shapes
    )


HEADS = {
    "linear, 3 classes": LinearPredictor(*drawn(D, 3)[0]),
    "linear, 2 classes": LinearPredictor(*drawn(D, 2)[0]),
    "one sigmoid": DensePredictor(drawn(D, 1)),
    "one sigmoid over a hidden layer": DensePredictor(drawn(D, 4, 1), dropout=0.5),
    "two softmax units": DensePredictor(drawn(D, 2)),
    "two softmax units over a hidden layer": DensePredictor(drawn(D, 4, 2)),
    "three softmax units over two hidden layers": DensePredictor(drawn(D, 4, 6, 3)),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_the_exported_network_gives_the_probabilities_of_the_head(features, pixels, head):
    network = attach_head(features, choose_cut(features, 1).cut, seed_head(head, "any"))
    embeddings = np.asarray(features(pixels.astype(np.float32)))
    expected = head.predict_proba(embeddings)
    assert np.ptp(expected, axis=0).max() > 0.2  # so that a mistake would show
    found = np.asarray(whole_model(network)(pixels))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_sigmoid_becomes_two_logits_whose_difference_it_is_of(pixels):
    head = HEADS["one sigmoid"]
    assert isinstance(head, DensePredictor)
    X = np.random.default_rng(2).normal(size=(9, D)).astype(np.float32)
    logits = seed_head(head, "dense").logits(X)
    weights, bias = head.layers[0]
    assert logits.shape == (9, 2)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], (X @ weights + bias)[:, 0], atol=1e-5)
    np.testing.assert_allclose(softmax(logits), head.predict_proba(X), atol=1e-6)


def test_a_calibrated_network_has_softer_probabilities_of_the_same_order(features, pixels):
    head = HEADS["linear, 3 classes"]
    network = attach_head(features, choose_cut(features, 1).cut, seed_head(head, "logreg"))
    before = np.asarray(network.whole()(pixels.astype(np.float32)))
    network.scale_logits(0.5)
    after = np.asarray(network.whole()(pixels.astype(np.float32)))
    np.testing.assert_allclose(after, before / 2, atol=1e-6)


def test_a_network_that_is_not_the_head_is_refused(features, pixels):
    head = seed_head(HEADS["linear, 3 classes"], "logreg")
    network = attach_head(features, choose_cut(features, "all").cut, head)
    x = pixels.astype(np.float32)
    X = np.asarray(features(x))
    assert check_parity(network.top, x, head, X, False) < 1e-5
    with pytest.raises(FitError, match=r"logits differ from the head's by .*, more than 0\.0001"):
        check_parity(network.top, x, head, X + 0.1, False)


def test_a_head_without_weights_is_refused():
    with pytest.raises(FitError, match="a knn head has no weights"):
        seed_head(object(), "knn")
