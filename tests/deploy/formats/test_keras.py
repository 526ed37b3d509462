"""A Keras file says its classes, and runs no code out of it."""

from __future__ import annotations

import json
import zipfile

import pytest

from tlx.deploy.formats.format import Order
from tlx.deploy.formats.keras import FORMAT
from tlx.lazy_imports import import_keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_the_classes_are_in_the_file(make_run, tmp_path):
    path = tmp_path / "model.keras"
    FORMAT.write(make_run("logreg").as_keras(), path, Order({"class_names": ["ant", "bee"]}))
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("metadata.json"))["tlx"] == {"class_names": ["ant", "bee"]}


def test_a_file_with_code_in_it_is_refused(tmp_path):
    keras = import_keras()
    pixels = keras.Input((4, 4, 3), dtype="uint8")
    path = tmp_path / "model.keras"
    keras.Model(pixels, keras.layers.Lambda(lambda x: x)(pixels)).save(path)
    with pytest.raises(ValueError, match="ambda"):
        FORMAT.open(path)
