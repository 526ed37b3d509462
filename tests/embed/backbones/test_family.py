"""What every backbone must pass, whichever family it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tlx.embed.backbones.family import Backbone
from tlx.embed.backbones.registry import families, get_backbone
from tlx.errors import TlxError
from tlx.lazy_imports import import_keras

# Keras 3.15 reads TensorFlow's variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FIELDS = "[b.name, b.image_size, b.weights_digest, b.preprocessing, b.weights]"


def save_keras_file(folder: Path) -> str:
    keras = import_keras()
    pixels = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(4, 3, strides=2, name="conv")(pixels)
    keras.Model(pixels, maps, name="small").save(folder / "mine.keras")
    return f"keras:{folder / 'mine.keras'}"


def save_preset(folder: Path) -> str:
    keras_hub = pytest.importorskip("keras_hub", reason="the extra `hub` is not installed")
    keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(None, None, 3),
    ).save_to_preset(folder)
    return f"hub:{folder}"


# A member of each family: its name, or what saves one; and its weights.
MEMBERS: dict[str, tuple[str | Callable[[Path], str], str]] = {
    "lite": ("efficientnet-lite0", "none"),
    "keras_applications": ("mobilenetv3small", "none"),
    "keras_file": (save_keras_file, "imagenet"),
    "hub": (save_preset, "imagenet"),
}


@pytest.fixture(scope="module", params=MEMBERS)
def backbone(request, tmp_path_factory) -> Backbone:
    name, weights = MEMBERS[request.param]
    if not isinstance(name, str):
        name = name(tmp_path_factory.mktemp(request.param))
    return get_backbone(name, weights)


def test_there_is_a_member_of_each_family():
    assert len(MEMBERS) == len(families())


def test_another_process_finds_it_by_name_and_weights(backbone, python):
    """With the same digest and size, and without importing what builds networks."""
    shown = python(
        f"""
import json, sys
from tlx.embed.backbones.registry import get_backbone
b = get_backbone({backbone.name!r}, {backbone.weights!r})
print(json.dumps({FIELDS}))
assert not {{"tensorflow", "keras", "openvino", "torch"}} & set(sys.modules)
"""
    )
    assert json.loads(shown) == eval(FIELDS, {"b": backbone})


def test_it_says_size_digest_and_preprocessing(backbone):
    assert 16 <= backbone.image_size <= 1024
    digest = backbone.weights_digest
    assert digest == "random:0" or (len(digest) == 64 and int(digest, 16) >= 0)
    assert backbone.preprocessing


def test_it_builds_a_model_of_pixels_to_maps(backbone):
    model = backbone.build(64)
    assert model.input_shape == (None, 64, 64, 3)
    batch = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    maps = np.asarray(model(batch, training=False))
    assert maps.shape == (2, *model.output_shape[1:])
    assert maps.ndim == 4
    assert np.isfinite(maps).all()
    assert not np.array_equal(maps[0], maps[1])


def test_it_builds_the_same_weights_each_time(backbone):
    for a, b in zip(
        backbone.build(64).get_weights(), backbone.build(64).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_an_error_of_building_names_the_size_that_works():
    def build(image_size: int) -> None:
        raise ValueError("too small")

    backbone = Backbone("net", 224, "random:0", "none", builder=build)
    with pytest.raises(TlxError, match="--image-size 224"):
        backbone.build(8)
