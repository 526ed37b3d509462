"""OpenVINO IR has plain names, one output, and says its classes."""

from __future__ import annotations

import json

from tlx.deploy.formats.format import Order
from tlx.deploy.formats.openvino import FORMAT
from tlx.lazy_imports import import_openvino


def test_names_and_classes_are_in_the_file(make_run, tmp_path):
    path = tmp_path / "model.xml"
    note = {"class_names": ["ant", "bée"], "fit": "squash"}
    FORMAT.write(make_run("logreg", "nested").as_keras(), path, Order(note))
    model = import_openvino().Core().read_model(path)
    (taken,), (given,) = model.inputs, model.outputs
    assert taken.names == {"image"}
    assert given.names == {"probabilities"}
    assert json.loads(model.get_rt_info(["tlx", "class_names"]).astype(str)) == ["ant", "bée"]
    assert model.get_rt_info(["tlx", "fit"]).astype(str) == "squash"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.xml"]


def test_float16_halves_the_weights(make_run, tmp_path):
    network = make_run("logreg").as_keras()
    sizes = []
    for precision in ("float32", "float16"):
        path = tmp_path / f"{precision}.xml"
        FORMAT.write(network, path, Order({}, precision))
        sizes.append(path.with_suffix(".bin").stat().st_size)
    assert sizes[1] <= 0.6 * sizes[0]
