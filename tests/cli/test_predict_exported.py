"""``tlx predict`` takes an exported network instead of a run."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tlx.deploy.exported import open_exported
from tlx.deploy.predictor import NAME, Predictor, digest_of, files_of

CLASSES = ("ant", "bee")


@pytest.fixture
def exported(tmp_path):
    """Return a network that was written by hand: it says how red and how blue a picture is."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=kinds.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Gather", ["mean", "columns"], ["two"], axis=1),
        helper.make_node("Softmax", ["two"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", kinds.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("probabilities", kinds.FLOAT, ["N", 2])],
        [onnx.numpy_helper.from_array(np.array([0, 2]), "columns")],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "two.onnx")
    described = Predictor(
        tlx="0", format="onnx", precision="float32", file="two.onnx",
        sha256=digest_of(tmp_path, files_of(tmp_path)), files=["two.onnx"], run="logreg-7",
        model="logreg", dataset="insects", fingerprint="0" * 64, spec=[{}], class_names=CLASSES,
        image_size=8, fit="squash", interpolation="bilinear", decoding={}, input={}, output={},
        temperature=1.0, accuracy={"value": 0.9, "low": 0.8, "high": 0.95},
        rejection=[{"error": 0.05, "threshold": 1.0}], parity={}, created="",
    )  # fmt: skip
    (tmp_path / NAME).write_bytes(described.to_json())
    return dataclasses.replace(described)


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        Image.new("RGB", (20, 10), colour).save(tmp_path / f"{name}.png")


def test_it_predicts_without_a_workspace(tlx, exported, photos, tmp_path):
    told = tlx("predict", "two.onnx", "red.png", "blue.png", "gone.png", "--json")
    found = json.loads(told.stdout)
    assert found["run"] == "logreg-7"
    assert [row["label"] for row in found["predictions"]] == ["ant", "bee", None]
    assert found["predictions"][0]["probabilities"]["ant"] > 0.99
    assert "accuracy 0.9000 (0.8000 to 0.9500), exported from logreg-7" in told.stderr
    assert not (tmp_path / ".tlx").exists()


def test_a_table_for_people_and_a_csv(tlx, exported, photos, tmp_path):
    told = tlx("predict", "two.onnx", "red.png", "--reject", "0.05")
    assert "1 prediction: " in told.stdout
    assert "does not tell images of something else" in told.stderr
    tlx("predict", "two.onnx", "red.png", "--output", "labels.csv")
    header, row = (tmp_path / "labels.csv").read_text().splitlines()
    assert header == "path,label,confidence,error,ant,bee"
    assert row.startswith("red.png,ant,1.0")


def test_what_needs_the_run_is_refused(tlx, exported, photos):
    told = tlx("predict", "two.onnx", "red.png", "--tta", "2", code=1)
    assert "--tta needs the run that it was made of" in told.stderr
    told = tlx("predict", "two.onnx", "red.png", "--engine", "openvino", code=1)
    assert "--engine needs the run that it was made of" in told.stderr
    told = tlx("predict", "two.onnx", "red.png", "--reject", "0.01", code=1)
    assert "It has those for: 0.05" in told.stderr


def test_a_file_without_its_description_is_refused(tlx, exported, photos, tmp_path):
    (tmp_path / NAME).unlink()
    told = tlx("predict", "two.onnx", "red.png", code=1)
    assert "does not describe an exported network" in told.stderr


@pytest.mark.parametrize("format_", ["savedmodel", "keras", "web"])
def test_a_format_whose_files_may_do_more_is_not_opened(tlx, exported, photos, tmp_path, format_):
    described = dataclasses.replace(exported, format=format_)
    (tmp_path / NAME).write_bytes(described.to_json())
    told = tlx("predict", "two.onnx", "red.png", code=1)
    assert f"an export in the format {format_} is not predicted with" in told.stderr
    assert "onnx, openvino, litert" in told.stderr


def test_another_file_than_the_one_described_is_not_answered_for(tlx, exported, photos, tmp_path):
    (tmp_path / "cats.onnx").write_bytes((tmp_path / "two.onnx").read_bytes())
    told = tlx("predict", "cats.onnx", "red.png", code=1)
    assert "describes two.onnx, and not cats.onnx" in told.stderr


def test_what_a_foreign_description_says_cannot_steer_the_terminal(tlx, exported, photos, tmp_path):
    described = dataclasses.replace(exported, run="\x1b[2J", model="\x1b]0;mine\x07")
    (tmp_path / NAME).write_bytes(described.to_json())
    told = tlx("predict", "two.onnx", "red.png")
    assert r"\x1b[2J" in told.stderr
    assert "\x1b" not in told.stdout + told.stderr


def test_what_only_writes_the_format_is_not_needed(exported, photos, tmp_path, monkeypatch):
    here = {"onnxruntime": object()}
    monkeypatch.setattr("tlx.deploy.formats.format.find_spec", here.get)
    (found,) = open_exported(tmp_path / "two.onnx").predict(tmp_path / "red.png")
    assert found.label == "ant"
