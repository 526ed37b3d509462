"""The models of specs: layers, poolings, and what cannot be had."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.embed.backbones.family import Backbone
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.backbones.tap import feature_model
from tlx.errors import TlxError, UnknownNameError

# Keras 3.15 reads TensorFlow's variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def spec_of(backbone: Backbone, **fields) -> FeatureSpec:
    names = {"image_size": 64, **fields}
    return FeatureSpec(backbone.name, backbone.weights_digest, backbone.preprocessing, **names)


@pytest.fixture(scope="module")
def lite0():
    return get_backbone("efficientnet-lite0", "none")


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({}, (1280,)),
        ({"pooling": "max"}, (1280,)),
        ({"pooling": "avg+max"}, (2560,)),
        ({"pooling": "flatten"}, (2 * 2 * 1280,)),
        ({"pooling": "none"}, (2, 2, 1280)),
        ({"layer": "block2_add"}, (24,)),
        ({"layer": "block2_add", "pooling": "none"}, (16, 16, 24)),
    ],
)
def test_layer_and_pooling_give_the_shape(lite0, fields, shape):
    assert feature_model(lite0, spec_of(lite0, **fields)).output_shape == (None, *shape)


def test_avg_and_max_are_taken_over_positions(lite0):
    batch = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    tap = {"layer": "block2_add"}
    maps = np.asarray(feature_model(lite0, spec_of(lite0, pooling="none", **tap))(batch))
    both = np.asarray(feature_model(lite0, spec_of(lite0, pooling="avg+max", **tap))(batch))
    expected = np.concatenate([maps.mean((1, 2)), maps.max((1, 2))], axis=1)
    np.testing.assert_allclose(both, expected, rtol=1e-4, atol=1e-5)


def test_unknown_layer_suggests_the_nearest(lite0):
    with pytest.raises(UnknownNameError, match="block2_add"):
        feature_model(lite0, spec_of(lite0, layer="block2_ad"))


def test_a_layer_known_from_another_backbone_names_it(lite0):
    with pytest.raises(UnknownNameError, match="mixed7 is a layer of inceptionv3"):
        feature_model(lite0, spec_of(lite0, layer="mixed7"))


def test_pixels_may_be_uint8(lite0):
    model = feature_model(lite0, spec_of(lite0, layer="block2_add"))
    batch = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    floats = np.asarray(model(batch.astype(np.float32)))
    np.testing.assert_allclose(model.predict(batch, verbose=0), floats, rtol=1e-5, atol=1e-5)


def test_size_that_the_network_cannot_take_names_its_own():
    inception = get_backbone("inceptionv3", "none")
    with pytest.raises(TlxError, match="--image-size 299"):
        feature_model(inception, spec_of(inception))
