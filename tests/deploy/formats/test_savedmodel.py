"""A SavedModel has one signature with plain names, and a note."""

from __future__ import annotations

import json

import numpy as np

from tlx.deploy.formats.format import Order
from tlx.deploy.formats.savedmodel import FORMAT
from tlx.lazy_imports import import_tensorflow


def test_the_signature_and_the_classes(make_run, tmp_path):
    path = tmp_path / "saved_model"
    FORMAT.write(make_run("logreg").as_keras(), path, Order({"class_names": ["ant", "bee"]}))
    loaded = import_tensorflow().saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]
    assert signature.structured_input_signature[1]["image"].dtype == np.uint8
    assert list(signature.structured_outputs) == ["probabilities"]
    note = json.loads((path / "assets.extra" / "tlx.json").read_text())
    assert note == {"class_names": ["ant", "bee"]}
