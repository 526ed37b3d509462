"""Nearest neighbours of versions before, read without what wrote them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tlx.classify.heads.predictors import load_predictor
from tlx.errors import FormatError

DATA = Path(__file__).parent / "data"


@pytest.fixture
def members() -> dict[str, bytes]:
    with zipfile.ZipFile(DATA / "head.skops") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def schema(members) -> dict:
    return json.loads(members["schema.json"])


@pytest.fixture
def load(tmp_path, members, schema):
    """Return a function that writes an archive with this schema and loads it."""

    def load(compression: int = zipfile.ZIP_STORED, **others: bytes):
        content = {**members, "schema.json": json.dumps(schema).encode(), **others}
        with zipfile.ZipFile(tmp_path / "head.skops", "w", compression) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        return load_predictor(tmp_path, {"head.skops": (tmp_path / "head.skops").read_bytes()})

    return load


def test_a_file_of_before_predicts_what_it_did():
    head = load_predictor(DATA, {"head.skops": (DATA / "head.skops").read_bytes()})
    X, expected = np.load(DATA / "X.npy"), np.load(DATA / "p.npy")
    np.testing.assert_allclose(head.predict_proba(X), expected, atol=1e-6)
    assert (head.k, head.n_classes, head.n_features) == (10, 3, 4)


def test_it_is_read_without_skops_and_scikit_learn(python):
    python(
        f"""
import sys
from pathlib import Path
from tlx.classify.heads.predictors import load_predictor
folder = Path({str(DATA)!r})
load_predictor(folder, {{"head.skops": (folder / "head.skops").read_bytes()}})
assert not {{"skops", "sklearn", "tensorflow"}} & set(sys.modules)
"""
    )


def test_the_very_first_took_features_as_they_are(load, schema):
    for name in ("mean_", "scale_"):
        del schema["content"]["content"][name]
    head = load()
    assert (head.mean == 0).all()
    assert (head.scale == 1).all()


@pytest.mark.parametrize(
    "change",
    [
        {"__class__": "system", "__module__": "os"},
        {"__class__": "KNNHead", "__module__": "evil"},
        {"__loader__": "FunctionNode"},
        {"__loader__": "ReduceNode"},
    ],
)
def test_any_other_type_is_refused(load, schema, change):
    schema.update(change)
    with pytest.raises(FormatError, match="holds a type that is not trusted"):
        load()


@pytest.mark.parametrize("loader", ["MethodNode", "ObjectNode", "BytesNode"])
def test_an_array_that_is_none_is_refused(load, schema, loader):
    schema["content"]["content"]["rows_"]["__loader__"] = loader
    with pytest.raises(FormatError, match="holds a type that is not trusted"):
        load()


def test_pickled_objects_in_an_array_are_refused(load, schema, tmp_path):
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    name = schema["content"]["content"]["weight_"]["file"]
    with pytest.raises(FormatError, match=r"head\.skops is no head: an array of shape"):
        load(**{name: (tmp_path / "o.npy").read_bytes()})


def test_an_array_that_claims_more_than_it_has_is_refused(load, schema, members):
    name = schema["content"]["content"]["weight_"]["file"]
    data = members[name].replace(b"(12,)", b"(99,)")
    with pytest.raises(FormatError, match=r"an array of shape \(99,\)"):
        load(**{name: data})


@pytest.mark.parametrize("key", ["rows_", "labels_", "k", "classes_"])
def test_a_missing_part_is_refused(load, schema, key):
    del schema["content"]["content"][key]
    with pytest.raises(FormatError, match=r"head\.skops is no head"):
        load()


def test_a_file_that_unpacks_to_far_more_is_refused(load):
    with pytest.raises(FormatError, match=r"head\.skops claims 50,\d+,\d+ bytes in a file of"):
        load(zipfile.ZIP_DEFLATED, padding=b"0" * 50_000_000)


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_archive_is_refused(tmp_path, data):
    (tmp_path / "head.skops").write_bytes(data)
    with pytest.raises(FormatError, match=r"head\.skops is no head"):
        load_predictor(tmp_path, {"head.skops": (tmp_path / "head.skops").read_bytes()})


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = (DATA / "head.skops").read_bytes()
    for end in range(0, len(whole), 97):
        (tmp_path / "head.skops").write_bytes(whole[:end])
        with pytest.raises(FormatError, match=r"head\.skops"):
            load_predictor(tmp_path, {"head.skops": (tmp_path / "head.skops").read_bytes()})
