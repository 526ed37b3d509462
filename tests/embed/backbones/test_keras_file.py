"""Backbones out of files: saved Keras models, honest and hostile."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.embed.backbones.family import Backbone
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.backbones.tap import feature_model
from tlx.errors import TlxError, UnknownNameError, WeightsError
from tlx.lazy_imports import import_keras

# Keras 3.15 reads TensorFlow's variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def spec_of(backbone: Backbone, **fields) -> FeatureSpec:
    names = {"image_size": backbone.image_size, **fields}
    return FeatureSpec(backbone.name, backbone.weights_digest, backbone.preprocessing, **names)


def small_model(size=32, name="small"):
    keras = import_keras()
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, strides=2, name="conv")(x)
    return keras.Model(inputs, keras.layers.ReLU(name="relu")(x), name=name)


def pixels(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_saved_model_is_a_backbone_of_its_own_size(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    model = small_model(32)
    model.save(path)
    backbone = get_backbone(f"keras:{path}")
    assert (backbone.name, backbone.image_size) == (f"keras:{path}", 32)
    features = feature_model(backbone, spec_of(backbone, pooling="none"))
    batch = pixels(2, 32)
    expected = model.predict(batch, verbose=0)
    np.testing.assert_allclose(features.predict(batch, verbose=0), expected, rtol=1e-6)


def test_relative_path_is_known_by_its_whole_name(tmp_path, monkeypatch):
    small_model().save(tmp_path / "mine.keras")
    monkeypatch.chdir(tmp_path)
    backbone = get_backbone("keras:mine.keras")
    assert get_backbone(backbone.name) == backbone
    assert backbone.name == f"keras:{tmp_path / 'mine.keras'}"


def test_model_of_any_size_takes_the_size_asked_for(tmp_path):
    small_model(None).save(tmp_path / "any.keras")
    backbone = get_backbone(f"keras:{tmp_path / 'any.keras'}")
    assert backbone.image_size == 224
    model = feature_model(backbone, spec_of(backbone, image_size=48, pooling="none"))
    assert model.output_shape == (None, 23, 23, 4)


def test_model_of_one_size_refuses_another(tmp_path):
    small_model(32).save(tmp_path / "fixed.keras")
    backbone = get_backbone(f"keras:{tmp_path / 'fixed.keras'}")
    with pytest.raises(TlxError, match="--image-size 32"):
        backbone.build(64)


def test_layers_inside_a_nested_network_can_be_tapped(tmp_path):
    """As in the recipes: a frozen base and a head in one Sequential."""
    keras = import_keras()
    base = small_model(32, "base")
    head = [keras.layers.Flatten(), keras.layers.Dense(2)]
    whole = keras.Sequential([keras.Input((32, 32, 3)), base, *head])
    whole.save(tmp_path / "recipe.keras")
    backbone = get_backbone(f"keras:{tmp_path / 'recipe.keras'}")
    batch = pixels(2, 32)
    for layer in ("conv", "base"):
        model = feature_model(backbone, spec_of(backbone, layer=layer, pooling="none"))
        got = model.predict(batch, verbose=0)
        inner = keras.Model(base.inputs[0], base.get_layer("conv").output)
        expected = inner.predict(batch, verbose=0)
        np.testing.assert_allclose(got, expected if layer == "conv" else np.maximum(expected, 0))
    with pytest.raises(UnknownNameError, match="conv"):
        feature_model(backbone, spec_of(backbone, layer="convv"))


def test_logits_of_a_whole_classifier_are_features_too(tmp_path):
    keras = import_keras()
    inputs = keras.Input((16, 16, 3))
    out = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    keras.Model(inputs, out).save(tmp_path / "whole.keras")
    backbone = get_backbone(f"keras:{tmp_path / 'whole.keras'}")
    assert feature_model(backbone, spec_of(backbone)).output_shape == (None, 3)
    with pytest.raises(TlxError, match="needs a feature map"):
        feature_model(backbone, spec_of(backbone, pooling="avg+max"))


def test_naming_a_saved_model_imports_no_keras(tmp_path):
    small_model().save(tmp_path / "mine.keras")
    code = (
        "import sys\n"
        "from tlx.embed.backbones.registry import get_backbone\n"
        f"get_backbone('keras:{tmp_path / 'mine.keras'}')\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_layers_are_refused_and_not_run(tmp_path, suffix):
    keras = import_keras()
    marker = tmp_path / "ran"
    path = tmp_path / f"evil{suffix}"
    code = "__import__('pathlib').Path"
    function = eval(f"lambda x: ({code}({str(marker)!r}).touch(), x)[1]")
    inputs = keras.Input((16, 16, 3))
    keras.Model(inputs, keras.layers.Lambda(function)(inputs)).save(path)
    marker.unlink(missing_ok=True)
    with pytest.raises(WeightsError, match="Lambda layer, which is Python code"):
        get_backbone(f"keras:{path}")
    assert not marker.exists()


def test_a_config_that_names_foreign_code_is_refused(tmp_path):
    """A .keras whose layer claims to live in `os`: Keras's safe mode must stop it."""
    path = tmp_path / "mine.keras"
    small_model().save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    layer = config["config"]["layers"][2]
    layer.update(module="os", class_name="system", registered_name=None)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        get_backbone(f"keras:{path}").build(32)


def test_grey_input_is_refused(tmp_path):
    keras = import_keras()
    inputs = keras.Input((16, 16, 1))
    keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)).save(tmp_path / "grey.keras")
    with pytest.raises(WeightsError, match="square RGB"):
        get_backbone(f"keras:{tmp_path / 'grey.keras'}")


def test_weights_without_a_model_say_what_to_type(tmp_path):
    small_model().save_weights(tmp_path / "only.weights.h5")
    with pytest.raises(WeightsError, match="--backbone NAME --weights"):
        get_backbone(f"keras:{tmp_path / 'only.weights.h5'}")


@pytest.mark.parametrize("name", ["notes.keras", "notes.h5"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_text("hello")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        get_backbone(f"keras:{tmp_path / name}")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        get_backbone(f"keras:{tmp_path / 'none.keras'}")


def test_saved_models_take_no_other_weights(tmp_path):
    with pytest.raises(WeightsError, match="has its own weights"):
        get_backbone("keras:x.keras", "none")
