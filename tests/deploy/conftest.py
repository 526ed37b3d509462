"""Two small backbones, a data set of real files embedded by both, and runs on them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import tlx
from tlx.classify.runs.run import Run
from tlx.deploy.predictor import Predictor
from tlx.lazy_imports import import_keras

SIZE = 16
MakeRun = Callable[..., Run]


def small_backbones(folder: Path) -> dict[str, str]:
    """Save two networks; return their names for ``--backbone``.

    ``plain`` has layers as mobile networks have. ``nested`` has models inside the model, and swish.
    """
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers, ops = keras.layers, keras.ops

    pixels = keras.Input((SIZE, SIZE, 3), name="image")
    x = layers.Rescaling(1 / 128, offset=-1.0, name="to_float")(pixels)
    x = layers.Conv2D(12, 3, strides=2, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same", name="logits")(x))
    plain = keras.Model(pixels, x, name="plain")

    pixels = keras.Input((SIZE, SIZE, 3))
    inner = keras.Input((SIZE, SIZE, 3))
    stem = layers.Conv2D(10, 3, activation="swish", padding="same", name="logits")(inner)
    y = keras.Model(inner, stem, name="stem")(layers.Rescaling(1 / 255)(pixels))
    y = keras.Sequential([layers.Conv2D(10, 3, padding="same"), layers.LeakyReLU()])(y)
    nested = keras.Model(pixels, ops.add(y, 0.1 * y), name="nested")

    found = {}
    for model in (plain, nested):
        path = folder / f"{model.name}.keras"
        with warnings.catch_warnings():  # Keras converts its variables as NumPy 1 did
            warnings.simplefilter("ignore", DeprecationWarning)
            model.save(path)
        found[model.name] = f"keras:{path.resolve()}"
    return found


@pytest.fixture(scope="session")
def photos(tmp_path_factory, class_folders) -> Path:
    folder = tmp_path_factory.mktemp("leaving") / "photos"
    return class_folders(folder, {"ant": 20, "bee": 20, "cat": 20})


@pytest.fixture(scope="session")
def leaving(tmp_path_factory, photos) -> Path:
    """Return a workspace with the photos, embedded by both backbones."""
    place = tmp_path_factory.mktemp("workspace")
    for name in small_backbones(place).values():
        tlx.embed_images(photos, backbone=name, workspace=place / ".tlx", engine="tensorflow")
    return place / ".tlx"


@pytest.fixture(scope="session")
def make_run(leaving) -> MakeRun:
    """Return ``make_run(model, "plain", …)``, a run on the features of a backbone, fitted once."""

    @functools.cache
    def make(model: str = "logreg", backbone: str = "plain", **options: object) -> Run:
        names = [f"keras:{(leaving.parent / part).resolve()}.keras" for part in backbone.split("+")]
        joined = "+".join(names)
        return tlx.fit_head(model, features=joined, workspace=leaving, **options)

    return make


@pytest.fixture(scope="session")
def good() -> Predictor:
    """Return what is well formed, of a file ``model.onnx``."""
    return Predictor(
        tlx="0.1.0",
        format="onnx",
        precision="float32",
        file="model.onnx",
        sha256="0" * 64,
        files=["model.onnx"],
        run="logreg-1",
        model="logreg",
        dataset="photos",
        fingerprint="1" * 64,
        spec=[{"backbone": "vgg16"}],
        class_names=("ant", "bee"),
        image_size=16,
        fit="squash",
        interpolation="bilinear",
        decoding={"revision": 1, "rules": []},
        input={"name": "image", "dtype": "uint8", "shape": [None, 16, 16, 3]},
        output={"name": "probabilities", "shape": [None, 2]},
        temperature=1.2,
        accuracy={"value": 0.9, "low": 0.8, "high": 0.95},
        rejection=[{"error": 0.05, "threshold": 0.8}],
        parity={"images": 64, "largest_difference": 1e-6, "labels_equal": True},
        created="2026-01-01T00:00:00+00:00",
    )
