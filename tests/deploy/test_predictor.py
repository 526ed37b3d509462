"""``predictor.json`` is written, read, and not believed before it is checked."""

from __future__ import annotations

import hashlib
import json

import pytest

from tlx.deploy.predictor import NAME, Predictor, digest_of, files_of, read_predictor
from tlx.errors import FormatError

GOOD = Predictor(
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


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(GOOD.to_json())
    assert read_predictor(path) == GOOD


def test_keys_of_a_later_version_are_passed_over(tmp_path):
    path = tmp_path / NAME
    path.write_text(json.dumps({**json.loads(GOOD.to_json()), "new": 1}))
    assert read_predictor(path) == GOOD


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"file": "../model.onnx"}, "does not lie beside it"),
        ({"file": "C:model.onnx"}, "does not lie beside it"),
        ({"files": ["a/../../b"]}, "does not lie beside it"),
        ({"files": []}, "no list of files"),
        ({"sha256": "abc"}, "no SHA-256"),
        ({"class_names": ["ant", "ant"]}, "no different names"),
        ({"class_names": ["ant", 3]}, "no different names"),
        ({"image_size": 10**9}, "image size"),
        ({"image_size": True}, "image size"),
        ({"fit": "stretch"}, "squash or crop or pad"),
        ({"precision": "float8"}, "float32 or float16 or int8"),
        ({"temperature": "1"}, "temperature is no number"),
        ({"accuracy": {"value": 1}}, "no value with an interval"),
        ({"rejection": [{"error": 0.1}]}, "no errors and thresholds"),
        ({"rejection": {}}, "no list of objects"),
        ({"decoding": []}, "no object"),
        ({"run": None}, "no text"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(change, why, tmp_path):
    path = tmp_path / NAME
    path.write_text(json.dumps({**json.loads(GOOD.to_json()), **change}))
    with pytest.raises(FormatError, match=why):
        read_predictor(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000, '{"tlx": 1}'], ids=len)
def test_what_is_no_such_file_is_refused(text, tmp_path):
    path = tmp_path / NAME
    path.write_text(text)
    with pytest.raises(FormatError, match="does not describe an exported network"):
        read_predictor(path)


def test_a_missing_one_is_refused(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        read_predictor(tmp_path / NAME)


def test_the_digest_of_one_file_is_its_own_and_of_several_that_of_their_list(tmp_path):
    (tmp_path / "b.bin").write_bytes(b"b")
    (tmp_path / NAME).write_bytes(b"{}")
    one = hashlib.sha256(b"b").hexdigest()
    assert digest_of(tmp_path, files_of(tmp_path)) == one
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"a")
    assert files_of(tmp_path) == ["b.bin", "in/a"]
    told = f"{one}  b.bin\n{hashlib.sha256(b'a').hexdigest()}  in/a\n"
    assert digest_of(tmp_path, files_of(tmp_path)) == hashlib.sha256(told.encode()).hexdigest()


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"model\.bin"):
        digest_of(tmp_path, ["model.bin"])
