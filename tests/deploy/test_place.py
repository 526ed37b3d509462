"""An export is written aside, and takes its place whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tlx.deploy.formats.registry import formats
from tlx.deploy.place import Place, aside, choose_place
from tlx.deploy.predictor import NAME
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


@pytest.fixture
def old(good, tmp_path):
    """Return the folder of an export, which a new one may replace."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"old")
    (folder / NAME).write_bytes(good.to_json())
    return folder


def replace_by_new(output: Path, meanwhile=lambda: None) -> None:
    place = choose_place("logreg-1", ONNX, output)
    place.check(True)
    with aside(place) as folder:
        (folder / place.name).write_bytes(b"new")
        meanwhile()
        place.take(folder, True)


def test_what_was_put_into_the_folder_during_the_export_is_kept(old, tmp_path):
    with pytest.raises(DataError, match="has other files in it"):
        replace_by_new(old, lambda: (old / "notes.txt").write_text("mine"))
    assert (old / "notes.txt").read_text() == "mine"
    assert (old / "model.onnx").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_old_export_comes_back_if_the_new_one_cannot_take_its_name(old, tmp_path, monkeypatch):
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name.endswith(".tmp"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(StorageError):
        replace_by_new(old)
    assert (old / "model.onnx").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_where_a_link_leads_is_replaced_and_the_link_stays(old, tmp_path):
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "latest"
    link.symlink_to(old)
    replace_by_new(link)
    assert link.is_symlink()
    assert (old / "model.onnx").read_bytes() == b"new"
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["latest"]


def test_the_description_of_another_file_is_not_replaced(old):
    with pytest.raises(DataError, match=r"describes model\.onnx"):
        choose_place("logreg-1", ONNX, old / "cats.onnx").check(True)
    choose_place("logreg-1", ONNX, old / "model.onnx").check(True)


def test_only_files_of_the_old_export_are_replaced_beside_others(good, tmp_path):
    described = replace(good, file="cats.xml", files=["cats.xml"])
    (tmp_path / NAME).write_bytes(described.to_json())
    (tmp_path / "cats.bin").write_bytes(b"mine")
    place = choose_place("logreg-1", formats()["openvino"], tmp_path / "cats.xml")
    place.check(True)
    with aside(place) as folder:
        (folder / "cats.bin").write_bytes(b"new")
        with pytest.raises(DataError, match=r"cats\.bin is there already, and is of no export"):
            place.take(folder, True)
    assert (tmp_path / "cats.bin").read_bytes() == b"mine"


def test_a_page_is_always_a_folder(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(DataError, match="is a folder of files"):
        choose_place("logreg-1", formats()["web"], tmp_path / "network.onnx")
