"""``model.keras`` is the whole network: pixels in, probabilities out, and it says its classes."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from tlx.classify.heads.linear import LinearPredictor, softmax
from tlx.deploy.formats.keras import model_bytes
from tlx.finetune.cut import choose_cut
from tlx.finetune.export import embedding_layer, whole_model
from tlx.finetune.seed import attach_head, seed_head
from tlx.lazy_imports import import_keras

# Keras 3 saves TensorFlow variables in a way that NumPy 2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def network():
    """Return a small network with a head; its layers have the names that tlx would use."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Rescaling(1 / 128, offset=-1.0, name="to_float")(pixels)
    x = keras.layers.Conv2D(5, 3, name="logits")(x)
    features = keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pool_avg")(x))
    rng = np.random.default_rng(1)
    head = LinearPredictor(rng.normal(size=(5, 2)).astype(np.float32), np.zeros(2, np.float32))
    return attach_head(features, choose_cut(features, 1).cut, seed_head(head, "logreg"))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


def test_the_file_gives_what_trunk_top_and_softmax_give(network, images, tmp_path):
    (tmp_path / "model.keras").write_bytes(model_bytes(whole_model(network), {}))
    loaded = import_keras().models.load_model(tmp_path / "model.keras")
    assert loaded.inputs[0].dtype == "uint8"
    expected = softmax(np.asarray(network.whole()(images.astype(np.float32))))
    np.testing.assert_allclose(np.asarray(loaded(images)), expected, atol=1e-6)


def test_the_file_has_the_note_beside_what_keras_says(network, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(model_bytes(whole_model(network), {"class_names": ["cat", "dog"]}))
    with zipfile.ZipFile(path) as archive:
        told = json.loads(archive.read("metadata.json"))
    assert told["tlx"] == {"class_names": ["cat", "dog"]}
    assert "keras_version" in told


def test_the_embedding_is_the_output_of_the_features(network):
    assert embedding_layer(network) == "pool_avg"
