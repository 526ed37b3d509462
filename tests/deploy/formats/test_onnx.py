"""An ONNX file says its classes, and its input and output have plain names."""

from __future__ import annotations

import json

import pytest

from tlx.deploy.formats.format import Order
from tlx.deploy.formats.onnx import FORMAT

pytest.importorskip("tf2onnx")
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning"),
]


def test_names_and_classes_are_in_the_file(make_run, tmp_path):
    import onnxruntime

    path = tmp_path / "model.onnx"
    note = {"class_names": ["ant", "bée"], "image_size": 16, "fit": "squash"}
    FORMAT.write(make_run("logreg").as_keras(), path, Order(note))
    session = onnxruntime.InferenceSession(str(path))
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("image", "tensor(uint8)", ["N", 16, 16, 3])
    assert (given.name, given.type, given.shape) == ("probabilities", "tensor(float)", ["N", 3])
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["class_names"]) == ["ant", "bée"]
    assert (found["image_size"], found["fit"]) == ("16", "squash")
