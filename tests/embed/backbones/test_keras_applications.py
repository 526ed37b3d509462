"""Keras's own networks: features of each, their pixels, and their downloads."""

from __future__ import annotations

import functools
import http.server
import inspect
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.embed.backbones import keras_applications
from tlx.embed.backbones.keras_catalogue import APPLICATIONS
from tlx.embed.backbones.random_weights import fill_random
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.backbones.tap import feature_model
from tlx.errors import WeightsError
from tlx.lazy_imports import import_keras

# Keras 3.15 reads TensorFlow's variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.slow
@pytest.mark.parametrize("name", APPLICATIONS)
def test_every_application_embeds_two_images(name):
    """At a small size, to be quick; what the catalogue says is checked on the way."""
    row = APPLICATIONS[name]
    model = feature_model(
        get_backbone(name, "none"), FeatureSpec(name, "random:0", row.preprocessing, 96)
    )
    batch = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3)).astype(np.float32)
    features = np.asarray(model(batch, training=False))
    import_keras().backend.clear_session()
    assert features.shape == (2, row.dim)
    assert model.count_params() == row.parameters
    assert np.isfinite(features).all()
    assert not np.array_equal(features[0], features[1])
    assert keras_applications.default_image_size(row.constructor) == row.image_size
    assert keras_applications.find_preprocessing(row.constructor) == row.preprocessing


@pytest.mark.parametrize("name", ["vgg16", "mobilenetv2", "densenet121"])
def test_pixels_reach_the_network_as_its_own_preprocessing_makes_them(name):
    """caffe, tf and torch, against Keras's function on the same pixels."""
    keras = import_keras()
    row = APPLICATIONS[name]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.float32)
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras_applications.preprocess(inputs, row.preprocessing))
    constructor = getattr(keras.applications, row.constructor)
    expected = inspect.getmodule(constructor).preprocess_input(pixels.copy())
    np.testing.assert_allclose(np.asarray(model(pixels)), expected, atol=2e-5)


def test_weights_of_another_network_are_refused(tmp_path):
    keras = import_keras()
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    backbone = get_backbone("mobilenetv3small", str(tmp_path / "other.weights.h5"))
    with pytest.raises(WeightsError, match=r"other\.weights\.h5 cannot be loaded"):
        backbone.build(64)


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    (tmp_path / "notes.weights.h5").write_text("hello")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        get_backbone("mobilenetv3small", str(tmp_path / "notes.weights.h5")).build(64)


def test_weights_that_change_after_they_were_looked_up_are_refused(tmp_path):
    path = tmp_path / "notes.weights.h5"
    path.write_text("hello")
    backbone = get_backbone("mobilenetv3small", str(path))
    path.write_text("world")
    with pytest.raises(WeightsError, match="has changed"):
        backbone.build(64)


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


class TestDownload:
    """Keras's real download, from a server on this machine."""

    NAME = "mobilenetv2"

    @pytest.fixture
    def keras_home(self, tmp_path, monkeypatch):
        keras = import_keras()
        file_utils = inspect.getmodule(keras.utils.get_file)
        home = tmp_path / "home"
        monkeypatch.setenv("KERAS_HOME", str(home))
        monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(home))
        return home

    @pytest.fixture
    def server(self, tmp_path, monkeypatch):
        """Serve tmp_path/served where Keras looks for the weights of MobileNetV2."""
        (tmp_path / "served").mkdir()
        handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            keras = import_keras()
            module = inspect.getmodule(keras.applications.MobileNetV2)
            url = f"http://127.0.0.1:{server.server_port}/"
            monkeypatch.setattr(module, "BASE_WEIGHT_PATH", url)
            yield tmp_path / "served"
            server.shutdown()

    def test_weights_are_downloaded_once_and_used_at_every_size(self, keras_home, server, capfd):
        row = APPLICATIONS[self.NAME]
        original = keras_applications.build(row, 96, None)
        fill_random(original, seed=5)
        original.save(server / row.weights_file)
        backbone = get_backbone(self.NAME)
        (server / row.weights_file).unlink()
        assert get_backbone(self.NAME) == backbone
        assert (keras_home / "models" / row.weights_file).is_file()
        for a, b in zip(
            get_backbone(self.NAME).build(128).get_weights(), original.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        assert capfd.readouterr().out == ""

    def test_a_failed_download_says_what_needs_none(self, keras_home, server):
        with pytest.raises(WeightsError, match="404") as caught:
            get_backbone(self.NAME)
        assert "--backbone efficientnet-lite0" in caught.value.remedy
        assert not list(keras_home.rglob("*.h5"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass
