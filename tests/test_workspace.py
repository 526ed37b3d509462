"""Where things lie in a workspace, and by which name a folder is known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tlx.embed.pipeline import embed_images
from tlx.errors import DataError, UnknownNameError
from tlx.workspace import Workspace, check_slug, slug, whole_path


@pytest.fixture
def place(tmp_path) -> Workspace:
    return Workspace(tmp_path / ".tlx")


@pytest.fixture
def photos(tmp_path, class_folders) -> Path:
    return class_folders(tmp_path / "a" / "photos", {"cats": 6, "dogs": 6})


def test_a_new_folder_is_known_by_its_own_name(place, photos):
    assert place.find_dataset(photos) == ("photos", None, "")


def test_a_folder_embedded_before_is_found_with_its_manifest(place, photos, grid):
    embed_images(photos, workspace=place, engine=grid)
    known = place.find_dataset(photos)
    assert known.name == "photos"
    assert known.manifest is not None
    assert len(known.manifest) == 12


def test_two_folders_of_one_name_are_two_data_sets(place, photos, grid, tmp_path, class_folders):
    embed_images(photos, workspace=place, engine=grid)
    other = class_folders(tmp_path / "b" / "photos", {"owls": 3})
    assert place.find_dataset(other).name.startswith("photos-")
    embed_images(other, workspace=place, engine=grid)
    assert len(place.find_dataset(other).manifest or []) == 3


def test_a_data_set_of_another_machine_is_not_replaced(
    place, photos, grid, tmp_path, class_folders
):
    """Merged from elsewhere: its folder is not here, and this folder of its name is another."""
    embed_images(photos, workspace=place, engine=grid)
    before = place.manifest_path("photos").read_bytes()
    shutil.rmtree(photos)
    other = class_folders(tmp_path / "b" / "photos", {"owls": 3})
    result = embed_images(other, workspace=place, engine=grid, image_size=64)
    assert result.dataset.startswith("photos-")
    assert place.manifest_path("photos").read_bytes() == before
    assert len(place.load_manifest(result.dataset).sources) == 1


def test_a_folder_that_was_moved_takes_its_data_set_along(place, photos, grid, tmp_path):
    first = embed_images(photos, workspace=place, engine=grid, validation_fraction=0.4)
    moved = Path(shutil.move(photos, tmp_path / "photos"))
    again = embed_images(moved, workspace=place, engine=grid)
    assert (again.dataset, again.splits) == ("photos", first.splits)
    assert place.dataset_names() == ["photos"]


def test_a_name_that_another_data_set_has_is_refused(place, photos, grid, tmp_path, class_folders):
    embed_images(photos, workspace=place, engine=grid, name="pets")
    other = class_folders(tmp_path / "b" / "owls", {"owls": 3})
    with pytest.raises(DataError, match=r"data set 'pets' is that of .*photos, not of .*owls"):
        embed_images(other, workspace=place, engine=grid, name="pets")


def test_a_damaged_manifest_is_a_problem(place, photos):
    place.manifest_path("photos").parent.mkdir(parents=True)
    place.manifest_path("photos").write_bytes(b"no longer HDF5")
    known = place.find_dataset(photos)
    assert (known.name, known.manifest) == ("photos", None)
    assert "photos.h5 is damaged" in known.problem


@pytest.mark.parametrize("typed", [".", "../cats", "../../photos/cats", "x/..", "./"])
def test_a_path_has_the_name_of_its_folder_however_it_is_typed(photos, monkeypatch, typed):
    (photos / "cats" / "x").mkdir()
    monkeypatch.chdir(photos / "cats")
    assert whole_path(typed) == photos / "cats"


def test_a_link_keeps_its_name(tmp_path, photos):
    (tmp_path / "mine").symlink_to(photos)
    assert whole_path(tmp_path / "mine").name == "mine"


def test_nothing_is_embedded_yet(place):
    with pytest.raises(DataError, match="nothing is embedded in"):
        place.load_manifest()


def test_an_unknown_data_set_names_the_nearest(place, photos, grid):
    embed_images(photos, workspace=place, engine=grid)
    with pytest.raises(UnknownNameError, match="Did you mean photos"):
        place.load_manifest("photo")


def test_names_are_slugs():
    assert slug("...my photos/2024...") == "my-photos-2024"
    assert slug("") == "data"
    check_slug("photos", "data set name")
    with pytest.raises(DataError, match="for example 'a-b'"):
        check_slug("a b", "data set name")
    with pytest.raises(DataError, match="for example 'best-1'"):
        check_slug("best", "name for a run", reserved="best")
