"""``predictor.json`` is written, read, and not believed before it is checked."""

from __future__ import annotations

import hashlib
import json

import pytest

from tlx.deploy.predictor import NAME, digest_of, files_of, read_predictor
from tlx.errors import FormatError


def test_what_is_written_is_read(good, tmp_path):
    path = tmp_path / NAME
    path.write_bytes(good.to_json())
    assert read_predictor(path) == good


def test_a_network_may_be_a_folder(good, tmp_path):
    path = tmp_path / NAME
    folder = {"file": "saved_model", "files": ["saved_model/a", "saved_model/b/c"]}
    path.write_text(json.dumps({**json.loads(good.to_json()), **folder}))
    assert read_predictor(path).file == "saved_model"


def test_keys_of_a_later_version_are_passed_over(good, tmp_path):
    path = tmp_path / NAME
    path.write_text(json.dumps({**json.loads(good.to_json()), "new": 1}))
    assert read_predictor(path) == good


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
        ({"file": "other.onnx"}, "is not among files"),
        ({"file": "saved_model", "files": ["saved_model/a", "b"]}, "is not among files"),
        pytest.param({"temperature": 10**400}, "too large", id="a number of 401 digits"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said(change, why, good, tmp_path):
    path = tmp_path / NAME
    path.write_text(json.dumps({**json.loads(good.to_json()), **change}))
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
