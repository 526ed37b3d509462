"""Presets of KerasHub, a folder of one's own included."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.embed.backbones.hub import preset_digest, preset_image_size
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.backbones.tap import feature_model
from tlx.errors import MissingExtraError, WeightsError

# Keras 3.15 reads TensorFlow's variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_without_the_extra_its_install_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tlx-vision\[hub\]'"):
        get_backbone("hub:resnet_50_imagenet")


def test_a_local_preset_folder_is_a_backbone(tmp_path):
    keras_hub = pytest.importorskip("keras_hub", reason="the extra `hub` is not installed")
    original = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    original.save_to_preset(tmp_path)
    converter = keras_hub.layers.ImageConverter(
        image_size=(48, 48), scale=[1 / 255, 1 / 128, 1 / 64], offset=[0.0, -1.0, 0.5]
    )
    converter.save_to_preset(tmp_path)
    backbone = get_backbone(f"hub:{tmp_path}")
    assert backbone.image_size == 48
    assert get_backbone(backbone.name) == backbone
    model = feature_model(
        backbone,
        FeatureSpec(
            backbone.name, backbone.weights_digest, backbone.preprocessing, 48, "last", "none"
        ),
    )
    batch = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3)).astype(np.float32)
    scaled = batch * [1 / 255, 1 / 128, 1 / 64] + [0.0, -1.0, 0.5]
    expected = original.predict(scaled.astype(np.float32), verbose=0)
    np.testing.assert_allclose(model.predict(batch, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_an_unknown_preset_is_refused():
    pytest.importorskip("keras_hub", reason="the extra `hub` is not installed")
    with pytest.raises(WeightsError, match="no KerasHub preset"):
        get_backbone("hub:no_such_preset")


@pytest.fixture
def preset(tmp_path):
    """Return a folder with what of a preset is read without KerasHub."""
    (tmp_path / "config.json").write_text(json.dumps({"config": {"image_shape": [96, 96, 3]}}))
    (tmp_path / "model.weights.h5").write_bytes(b"weights")
    return tmp_path


def test_a_folder_is_looked_up_without_kerashub(preset, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    backbone = get_backbone(f"hub:{preset}")
    assert (backbone.name, backbone.image_size) == (f"hub:{preset}", 96)
    assert get_backbone(backbone.name) == backbone


def test_the_size_of_the_image_converter_comes_first(preset):
    converter = {"config": {"image_size": [48, 48]}}
    (preset / "image_converter.json").write_text(json.dumps(converter))
    assert preset_image_size(preset) == 48


def test_the_digest_covers_what_makes_the_features(preset):
    before = preset_digest(preset)
    (preset / "README.md").write_text("a note")
    assert preset_digest(preset) == before
    (preset / "model.weights.h5").write_bytes(b"others")
    assert preset_digest(preset) != before


def test_a_preset_takes_no_other_weights():
    with pytest.raises(WeightsError, match="hub:resnet has its own weights"):
        get_backbone("hub:resnet", "none")
