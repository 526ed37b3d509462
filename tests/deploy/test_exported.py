"""An exported network predicts photos without its run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tlx.deploy.export import export_run
from tlx.deploy.exported import open_exported
from tlx.deploy.predictor import NAME
from tlx.errors import DataError, FormatError

pytest.importorskip("tf2onnx")
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning"),
]


@pytest.fixture(scope="module")
def folder(make_run, leaving, tmp_path_factory):
    place = tmp_path_factory.mktemp("exported") / "out"
    export_run(make_run("logreg"), "onnx", place, workspace=leaving)
    return place


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_it_says_what_the_run_says_of_files_folders_and_copies(folder, make_run, leaving, photos):
    ours = open_exported(folder / "model.onnx").predict([photos / "ant", photos / "ant"])
    theirs = make_run("logreg").predict([photos / "ant", photos / "ant"], workspace=leaving)
    assert [row.path for row in ours] == [row.path for row in theirs]
    assert [row.label for row in ours] == [row.label for row in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a.probabilities.keys() == b.probabilities.keys()
        np.testing.assert_allclose(
            [*a.probabilities.values()], [*b.probabilities.values()], atol=1e-5
        )


def test_what_cannot_be_read_is_a_row(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    paths = [tmp_path / "empty", tmp_path / "broken.png", tmp_path / "gone.png"]
    empty, broken, gone = open_exported(folder).predict(paths)
    assert empty.error == "a folder without images"
    assert "damaged PNG" in broken.error
    assert gone.error == "no such file or directory"
    assert {row.label for row in (empty, broken, gone)} == {None}


def test_rejection_takes_the_threshold_of_the_file(copied, photos):
    path = copied / NAME
    told = json.loads(path.read_text())
    told["rejection"] = [{"error": 0.05, "threshold": 1.0}]
    path.write_text(json.dumps(told))
    exported = open_exported(copied)
    assert {row.label for row in exported.predict(photos / "bee", reject=0.05)} == {"unknown"}
    with pytest.raises(DataError, match=r"It has those for: 0\.05"):
        exported.predict(photos / "bee", reject=0.01)


def test_no_images_is_an_error(folder):
    with pytest.raises(DataError, match="no images to predict"):
        open_exported(folder).predict([])


def test_another_file_is_refused(copied):
    with open(copied / "model.onnx", "ab") as file:
        file.write(b"x")
    with pytest.raises(FormatError, match="SHA-256 is another"):
        open_exported(copied / "model.onnx")


def test_a_file_of_its_own_kind_alone_is_refused(copied):
    (copied / NAME).unlink()
    with pytest.raises(FormatError, match=r"predictor\.json does not describe"):
        open_exported(copied / "model.onnx")


def test_a_format_that_is_not_known_is_refused(copied):
    told = json.loads((copied / NAME).read_text())
    (copied / NAME).write_text(json.dumps({**told, "format": "pickle"}))
    with pytest.raises(FormatError, match="unknown format: 'pickle'"):
        open_exported(copied)


def test_classes_that_the_network_does_not_have_are_refused(copied, photos):
    told = json.loads((copied / NAME).read_text())
    (copied / NAME).write_text(json.dumps({**told, "class_names": ["ant", "bee"]}))
    with pytest.raises(FormatError, match="names 2 classes"):
        open_exported(copied).predict(photos / "bee")


def test_a_network_of_another_input_is_refused(copied, photos):
    told = json.loads((copied / NAME).read_text())
    (copied / NAME).write_text(json.dumps({**told, "image_size": 8}))
    with pytest.raises(FormatError, match="cannot be run on images of 8 pixels"):
        open_exported(copied).predict(photos / "bee")


def test_it_is_opened_and_predicts_without_tensorflow(folder, photos, python):
    python(
        """
import sys
from tlx.deploy.exported import open_exported
open_exported(sys.argv[1]).predict(sys.argv[2])
heavy = [name for name in ("tensorflow", "keras") if name in sys.modules]
assert not heavy, heavy
""",
        folder,
        photos,
    )


def test_it_says_in_a_line_what_it_is(folder):
    assert "logreg on 'photos', accuracy " in open_exported(folder).describe()
