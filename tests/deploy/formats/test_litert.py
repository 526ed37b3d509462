"""A LiteRT file has plain names, and the classes behind the network."""

from __future__ import annotations

import json
import zipfile

import pytest

from tlx.deploy.formats.format import Order
from tlx.deploy.formats.litert import FORMAT

interpreter = pytest.importorskip("ai_edge_litert.interpreter")


def test_names_and_classes_are_in_the_file(make_run, tmp_path):
    path = tmp_path / "model.tflite"
    note = {"class_names": ["ant", "bée\nor\u2028wasp"], "fit": "squash"}
    FORMAT.write(make_run("logreg").as_keras(), path, Order(note))
    opened = interpreter.Interpreter(str(path))
    (signature,) = opened.get_signature_list().values()
    assert signature == {"inputs": ["image"], "outputs": ["probabilities"]}
    (taken,) = opened.get_input_details()
    assert taken["shape_signature"].tolist() == [-1, 16, 16, 3]
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == ["ant", "bée or wasp"]
        assert json.loads(archive.read("tlx.json")) == note
