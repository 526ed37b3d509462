"""The data-set scanner: layouts, odd files, and the split by digest."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from tlx.embed.dataset import image_paths, scan
from tlx.errors import DataError


def labels(found) -> dict[str, str | None]:
    """Return the class name of each path."""
    m = found.manifest
    return {
        path: None if i < 0 else m.class_names[i] for path, i in zip(m.path, m.label, strict=True)
    }


def splits(found) -> dict[str, str]:
    return dict(zip(found.manifest.path, found.manifest.split, strict=True))


def errors(found) -> dict[str, str]:
    pairs = zip(found.manifest.path, found.manifest.error, strict=True)
    return {path: error for path, error in pairs if error}


# Layouts


def test_one_folder_a_class(tmp_path, class_folders):
    found = scan(class_folders(tmp_path, {"cats": 2, "dogs": 3}), "pets")
    assert found.layout == "classes"
    assert found.manifest.name == "pets"
    assert found.manifest.class_names == ("cats", "dogs")
    assert np.bincount(found.manifest.label).tolist() == [2, 3]
    assert set(found.manifest.split) == {""}


def test_size_and_time_are_those_of_the_file_system(tmp_path, class_folders):
    found = scan(class_folders(tmp_path, {"cats": 1})).manifest
    status = os.stat(found.file(0))
    assert (found.size[0], found.mtime_ns[0]) == (status.st_size, status.st_mtime_ns)


def test_nothing_is_read_yet(tmp_path, class_folders):
    found = scan(class_folders(tmp_path, {"cats": 1})).manifest
    assert not found.hashed.any()
    assert found.width.tolist() == [0]


def test_nested_folders_belong_to_their_class(tmp_path, class_folders):
    class_folders(tmp_path, {"cats/2023/july": 1, "cats/2024": 1, "dogs": 1})
    assert labels(scan(tmp_path)) == {
        "cats/2023/july/0000.png": "cats",
        "cats/2024/0000.png": "cats",
        "dogs/0000.png": "dogs",
    }


def test_order_is_that_of_the_names(tmp_path, class_folders):
    class_folders(tmp_path, {"b/x": 1, "b/a": 2, "b": 2, "a": 1})
    names = ["a/0000.png", "b/0000.png", "b/0001.png"]
    assert scan(tmp_path).manifest.path == [
        *names,
        "b/a/0000.png",
        "b/a/0001.png",
        "b/x/0000.png",
    ]


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"),
        ("training", "train"),
        ("TRAIN", "train"),
        ("validation", "validation"),
        ("valid", "validation"),
        ("Val", "validation"),
        ("test", "test"),
        ("Testing", "test"),
        ("dev", "validation"),
        ("eval", "validation"),
        ("train_set", "train"),
        ("val2017", "validation"),
        ("Test Images", "test"),
        ("holdout", "test"),
    ],
)
def test_a_split_goes_by_all_its_names(tmp_path, class_folders, folder, split):
    class_folders(tmp_path, {f"{folder}/cats": 1, f"{folder}/dogs": 1})
    found = scan(tmp_path)
    assert found.layout == "splits"
    assert set(found.manifest.split) == {split}
    assert found.manifest.class_names == ("cats", "dogs")


def test_train_and_validation_with_other_folders_beside_them(tmp_path, class_folders):
    class_folders(tmp_path, {"train/cats": 1, "val/cats": 1, "rejected": 3})
    found = scan(tmp_path)
    assert splits(found) == {"train/cats/0000.png": "train", "val/cats/0000.png": "validation"}
    assert found.outside == 3


def test_a_class_may_be_called_train(tmp_path, class_folders):
    found = scan(class_folders(tmp_path, {"train": 1, "bus": 1, "tram": 1}))
    assert found.layout == "classes"
    assert found.manifest.class_names == ("bus", "train", "tram")


def test_a_folder_that_only_wraps_is_passed_through_and_told(tmp_path, class_folders):
    found = scan(class_folders(tmp_path, {"insects/ants": 2, "insects/bees": 1}))
    assert found.manifest.class_names == ("ants", "bees")
    assert found.manifest.path[0] == os.path.join("insects", "ants", "0000.png")
    assert "the folder 'insects' only wraps others" in found.notes[0]


def test_wrapped_splits_are_splits(tmp_path, class_folders):
    class_folders(tmp_path, {f"v1/data/{s}/{c}": 1 for s in ("train", "dev") for c in "ab"})
    found = scan(tmp_path)
    assert found.layout == "splits"
    assert found.manifest.class_names == ("a", "b")
    assert sorted(found.manifest.split) == ["train", "train", "validation", "validation"]


def test_a_wrapper_inside_splits_is_passed_through(tmp_path, class_folders):
    class_folders(tmp_path, {f"{s}/images/{c}": 1 for s in ("train", "val") for c in "ab"})
    assert scan(tmp_path).manifest.class_names == ("a", "b")


def test_one_folder_of_images_is_one_class(tmp_path, class_folders):
    found = scan(class_folders(tmp_path, {"cats": 2}))
    assert (found.manifest.class_names, found.notes) == (("cats",), [])


def test_a_split_beside_folders_that_are_none_is_refused(tmp_path, class_folders):
    class_folders(tmp_path, {f"{s}/{c}": 1 for s in ("train", "extra") for c in ("cats", "dogs")})
    with pytest.raises(DataError, match=r"train looks like a split \(cats, dogs .*extra") as caught:
        scan(tmp_path)
    assert "train, validation and test" in caught.value.remedy


def test_folders_that_share_their_subfolders_are_classes_and_that_is_told(tmp_path, class_folders):
    class_folders(tmp_path, {f"{s}/{c}": 1 for s in ("one", "two") for c in ("cats", "dogs")})
    found = scan(tmp_path)
    assert found.manifest.class_names == ("one", "two")
    assert "the classes are one, two, not the folders cats, dogs" in found.notes[0]


def test_splits_need_class_folders(tmp_path, class_folders):
    class_folders(tmp_path, {"train": 2, "validation": 2})
    with pytest.raises(DataError, match="hold images but no class folders"):
        scan(tmp_path)


def test_images_without_folders_have_no_labels(tmp_path, picture):
    (tmp_path / "a.jpg").write_bytes(picture(1, "JPEG"))
    found = scan(tmp_path)
    assert found.layout == "flat"
    assert labels(found) == {"a.jpg": None}
    assert found.manifest.class_names == ()


def test_images_beside_the_class_folders_are_counted(tmp_path, class_folders, picture):
    class_folders(tmp_path, {"cats": 1})
    (tmp_path / "stray.png").write_bytes(picture(1))
    found = scan(tmp_path)
    assert list(labels(found)) == ["cats/0000.png"]
    assert found.outside == 1


def test_class_folders_without_images_are_named(tmp_path, class_folders):
    class_folders(tmp_path, {"train/cats": 1, "train/dogs": 0, "val/cats": 1})
    assert scan(tmp_path).empty_classes == [os.path.join("train", "dogs")]


def test_a_relative_path_is_made_absolute(tmp_path, class_folders, monkeypatch):
    class_folders(tmp_path / "pets", {"cats": 1})
    monkeypatch.chdir(tmp_path)
    assert scan("pets").manifest.root == str(tmp_path / "pets")


def test_all_classes_are_there_however_the_folder_is_typed(tmp_path, class_folders, monkeypatch):
    class_folders(tmp_path / "pets", {"cats": 1, "dogs": 1})
    monkeypatch.chdir(tmp_path / "pets" / "cats")
    assert scan("..").manifest.class_names == ("cats", "dogs")
    assert scan("..").manifest.root == str(tmp_path / "pets")
    assert len(image_paths("..")) == 2
    assert scan("../cats/..").manifest.class_names == ("cats", "dogs")


# Names


@pytest.mark.parametrize("name", ["Käse 🧀.png", "with space.png", "new\nline.png", "-dash.png"])
def test_odd_names(tmp_path, class_folders, picture, name):
    class_folders(tmp_path, {"größe 10": 0})
    (tmp_path / "größe 10" / name).write_bytes(picture(name))
    found = scan(tmp_path)
    assert labels(found) == {os.path.join("größe 10", name): "größe 10"}
    assert os.path.exists(found.manifest.file(0))


def test_names_that_are_not_utf8(tmp_path, picture):
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("the file system takes no such names")
    with open(os.path.join(folder, b"\xff.png"), "wb") as file:
        file.write(picture(1))
    found = scan(tmp_path)
    assert [os.fsencode(p) for p in found.manifest.path] == [b"caf\xe9/\xff.png"]
    assert os.path.exists(found.manifest.file(0))


# Links


def test_links_to_files_and_folders_are_followed(tmp_path, class_folders):
    elsewhere = class_folders(tmp_path / "elsewhere", {"cats": 2})
    data = tmp_path / "data"
    (data / "dogs").mkdir(parents=True)
    (data / "cats").symlink_to(elsewhere / "cats")
    (data / "dogs" / "d.png").symlink_to(elsewhere / "cats" / "0000.png")
    assert sorted(labels(scan(data))) == ["cats/0000.png", "cats/0001.png", "dogs/d.png"]


def test_a_loop_of_folders_ends(tmp_path, class_folders):
    class_folders(tmp_path, {"cats/deep": 1})
    (tmp_path / "cats" / "deep" / "again").symlink_to(tmp_path / "cats")
    assert list(labels(scan(tmp_path))) == ["cats/deep/0000.png"]


def test_a_link_up_does_not_bring_other_classes_in(tmp_path, class_folders):
    data = class_folders(tmp_path / "data", {"cats": 1, "dogs": 1})
    (data / "cats" / "up").symlink_to(data)
    (data / "dogs" / "further").symlink_to(tmp_path)
    assert labels(scan(data)) == {"cats/0000.png": "cats", "dogs/0000.png": "dogs"}


def test_broken_and_circular_links_are_rows_with_a_reason(tmp_path, class_folders):
    class_folders(tmp_path, {"cats": 1})
    (tmp_path / "cats" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "cats" / "self.jpg").symlink_to("self.jpg")
    assert errors(scan(tmp_path)) == {
        "cats/gone.jpg": "no such file or directory",
        "cats/self.jpg": "too many levels of symbolic links",
    }


# What is an image


def test_hidden_files_and_folders_are_passed_over(tmp_path, class_folders, picture):
    class_folders(tmp_path, {"cats": 1, ".tlx": 1, "cats/.thumbs": 1, "__MACOSX": 1})
    (tmp_path / "cats" / "._0000.png").write_bytes(picture(1))
    (tmp_path / "cats" / "Thumbs.db").write_bytes(picture(2))
    found = scan(tmp_path)
    assert list(labels(found)) == ["cats/0000.png"]
    assert found.ignored == {"hidden": 2}


def test_other_files_are_counted_by_suffix(tmp_path, class_folders):
    class_folders(tmp_path, {"cats": 1})
    for name in ("notes.txt", "b.TXT", "Makefile", "film.mp4"):
        (tmp_path / "cats" / name).write_bytes(b"something else")
    assert scan(tmp_path).ignored == {".txt": 2, "no suffix": 1, ".mp4": 1}


def test_an_image_is_known_by_its_first_bytes(tmp_path, class_folders, picture):
    class_folders(tmp_path, {"cats": 0})
    (tmp_path / "cats" / "0001").write_bytes(picture(1, "JPEG"))
    (tmp_path / "cats" / "0002.data").write_bytes(picture(2, "PNG"))
    assert sorted(labels(scan(tmp_path))) == ["cats/0001", "cats/0002.data"]


def test_text_that_is_named_as_an_image_stays_a_candidate(tmp_path, class_folders):
    class_folders(tmp_path, {"cats": 1})
    (tmp_path / "cats" / "fake.JPG").write_text("not a picture")
    assert "cats/fake.JPG" in labels(scan(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_opened(tmp_path, class_folders):
    class_folders(tmp_path, {"cats": 1})
    os.mkfifo(tmp_path / "cats" / "pipe.jpg")
    os.mkfifo(tmp_path / "cats" / "pipe")
    found = scan(tmp_path)
    assert errors(found) == {"cats/pipe.jpg": "not a regular file"}
    assert found.ignored == {"not a file": 1}


def test_a_socket_is_not_opened(tmp_path, class_folders, monkeypatch):
    class_folders(tmp_path, {"cats": 1})
    monkeypatch.chdir(tmp_path / "cats")  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        assert errors(scan(tmp_path)) == {"cats/s.png": "not a regular file"}


def test_a_folder_that_is_named_as_an_image_is_a_folder(tmp_path, class_folders):
    class_folders(tmp_path, {"cats/album.jpg": 1})
    assert labels(scan(tmp_path)) == {"cats/album.jpg/0000.png": "cats"}


# Nothing to scan


def test_no_images(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(DataError, match=r"no images in .* \(1 other files were ignored\)") as e:
        scan(tmp_path)
    assert "one folder a class" in e.value.remedy


def test_missing_path(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        scan(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_impossible_path(name):
    with pytest.raises(DataError, match="does not exist"):
        scan(name)


def test_neither_folder_nor_csv(tmp_path, picture):
    (tmp_path / "a.png").write_bytes(picture(1))
    with pytest.raises(DataError, match=r"a\.png is neither a folder nor a CSV file"):
        scan(tmp_path / "a.png")


def test_unreadable_folder(tmp_path, class_folders, deny):
    class_folders(tmp_path, {"cats": 1, "dogs": 1})
    deny(tmp_path / "dogs", 0)
    with pytest.raises(DataError, match=r"the folder .*dogs cannot be read: Permission denied"):
        scan(tmp_path)


def test_path_behind_a_closed_folder(tmp_path, class_folders, deny):
    class_folders(tmp_path / "closed", {"data/cats": 1})
    deny(tmp_path / "closed", 0)
    with pytest.raises(DataError, match="does not exist, or may not be seen"):
        scan(tmp_path / "closed" / "data")


# All images of a folder


def test_image_paths_takes_every_layout(tmp_path, class_folders, picture):
    class_folders(tmp_path, {"train/cats": 1, "other": 1})
    (tmp_path / "top.png").write_bytes(picture(1))
    assert image_paths(tmp_path) == ["top.png", "other/0000.png", "train/cats/0000.png"]


def test_scan_takes_strings_and_paths(tmp_path: Path, class_folders):
    class_folders(tmp_path, {"cats": 1})
    assert scan(str(tmp_path)).manifest.path == scan(tmp_path).manifest.path
