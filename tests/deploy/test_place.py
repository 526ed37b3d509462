"""An export is written aside, and takes its place whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlx.deploy.formats.registry import formats
from tlx.deploy.place import Place, aside, choose_place
from tlx.errors import DataError, StorageError

ONNX = formats()["onnx"]


def test_a_folder_is_named_by_run_and_format(tmp_path):
    assert choose_place("logreg-1", ONNX, None).folder == Path("logreg-1-onnx")
    assert choose_place("logreg-1", ONNX, tmp_path).own_folder


def test_a_name_with_the_suffix_of_the_format_is_a_file(tmp_path):
    place = choose_place("logreg-1", ONNX, tmp_path / "cats.onnx")
    assert (place.folder, place.name, place.own_folder) == (tmp_path, "cats.onnx", False)
    assert choose_place("logreg-1", ONNX, tmp_path / "cats.xml").own_folder


def half_written(place: Place) -> None:
    with aside(place) as folder:
        (folder / "cats.bin").write_bytes(b"new")
        place.take(folder, False)
        raise ZeroDivisionError


def test_what_is_written_aside_is_gone_after_an_error(tmp_path):
    place = choose_place("logreg-1", ONNX, tmp_path / "out")
    with pytest.raises(ZeroDivisionError):
        half_written(place)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # which was whole by then


def test_a_folder_that_cannot_be_written_is_told(tmp_path, deny):
    deny(tmp_path, 0o555)
    with pytest.raises(StorageError, match="cannot be written"):
        half_written(choose_place("logreg-1", ONNX, tmp_path / "out"))


def test_another_file_of_the_network_is_not_overwritten(tmp_path):
    (tmp_path / "cats.bin").write_bytes(b"mine")
    place = choose_place("logreg-1", formats()["openvino"], tmp_path / "cats.xml")
    place.check(False)
    with pytest.raises(DataError, match=r"cats\.bin is there already"):
        half_written(place)
    assert (tmp_path / "cats.bin").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["cats.bin"]
