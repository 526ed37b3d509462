"""``tlx embed`` of a data set whose labels were corrected: it honours them, and says so."""

from __future__ import annotations

import shutil

import pytest

from tlx.errors import FormatError
from tlx.relabel import relabel_images
from tlx.workspace import Workspace

CAT = "cats/0000.png"


@pytest.fixture
def place(tmp_path, embed):
    """Return a workspace in which one cat is a dog by correction."""
    embed()
    relabel_images({CAT: "dogs"}, workspace=tmp_path / "ws", apply=True)
    return Workspace(tmp_path / "ws")


def label_of(manifest, path):
    return manifest.class_names[manifest.label[manifest.path.index(path)]]


def test_corrections_are_honoured_and_told_and_nothing_is_embedded_again(place, embed, grid):
    seen = grid.seen
    result = embed()
    assert (result.classes, grid.seen) == ({"cats": 5, "dogs": 6}, seen)
    assert result.notes == ["1 correction of labels is applied (tlx relabel shows them)"]
    assert label_of(place.load_manifest(), CAT) == "dogs"
    assert label_of(place.load_snapshot(), CAT) == "cats", "the file has the folders' word"


def test_an_image_that_is_left_out_counts_for_no_class_and_is_not_unreadable(place, embed):
    relabel_images({CAT: None}, workspace=place, apply=True)
    result = embed(validation_fraction=0.4)
    assert (result.images, result.classes) == (11, {"cats": 5, "dogs": 5})
    assert (sum(result.splits.values()), result.unreadable) == (10, [])


def test_a_correction_of_a_file_that_was_replaced_is_not_applied_and_told(place, embed, data):
    shutil.copy(data / "cats" / "0001.png", data / CAT)
    result = embed()
    assert result.classes == {"cats": 6, "dogs": 5}
    assert "1 correction of labels is not, as its image" in result.notes[0]


def test_a_file_that_was_moved_to_its_right_folder_needs_no_correction(place, embed, data):
    shutil.move(data / CAT, data / "dogs" / "moved.png")
    assert embed().classes == {"cats": 5, "dogs": 6}


def test_a_split_stays_as_it_is_whatever_is_corrected(place, embed):
    before = embed(validation_fraction=0.4)
    relabel_images({"cats/0001.png": "dogs"}, workspace=place, apply=True)
    assert embed().splits == before.splits


def test_a_conflict_that_was_corrected_is_no_conflict(place, embed, data):
    shutil.copy(data / "cats" / "0002.png", data / "dogs" / "copy.png")
    assert embed().conflicts
    relabel_images({"dogs/copy.png": "cats"}, workspace=place, apply=True)
    assert not embed().conflicts


def test_damaged_corrections_are_told_before_the_work(place, embed):
    place.corrections_path("data").write_text("{")
    with pytest.raises(FormatError, match="tlx relabel --undo"):
        embed()
