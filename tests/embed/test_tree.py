"""Listings from elsewhere as folders: the same order as on a disk, and names that stay names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tlx.embed.tree import FolderTree, ListedTree, is_safe

NAMES = [
    "top.png",
    "notes.txt",
    ".hidden.png",
    "cats/b.png",
    "cats/a.jpg",
    "cats/deep/c.png",
    "cats-2/d.png",
    "dogs/e.PNG",
    "dogs/.git/f.png",
    "__MACOSX/cats/b.png",
]


@pytest.fixture
def trees(tmp_path, picture) -> tuple[FolderTree, ListedTree]:
    """Return the same files on a disk and in a listing."""
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"" if name.endswith("txt") else picture(name))
    listed = [(name, (tmp_path / name).stat().st_size, 7) for name in reversed(NAMES)]
    return FolderTree(tmp_path), ListedTree("s3://bucket", listed)


def test_a_listing_is_walked_as_a_folder_is(trees):
    folder, listed = ([Path(f.path).as_posix() for f in t.walk("", Counter())] for t in trees)
    assert folder == listed
    assert len(listed) == 6


@pytest.mark.parametrize("below", ["", "cats", "dogs", "nowhere"])
def test_a_listing_has_the_same_inside(trees, below):
    ignored, also = Counter(), Counter()
    files, folders = trees[1].inside(below, ignored)
    if below == "nowhere":
        assert (files, folders) == ([], [])
        return
    local, inside = trees[0].inside(below, also)
    assert [file.path for file in files] == [file.path for file in local]
    assert (folders, ignored) == (inside, also)


def test_size_and_stamp_are_those_of_the_listing():
    (found,) = ListedTree("s3://bucket", [("a/1.png", 12, 34)]).walk("a", Counter())
    assert (found.path, found.size, found.mtime_ns) == ("a/1.png", 12, 34)


def test_a_folder_whose_name_begins_another_one_is_not_that():
    tree = ListedTree("s3://bucket", [("photos/1.png", 1, 1), ("photos2/2.png", 1, 1)])
    assert [f.path for f in tree.walk("photos", Counter())] == ["photos/1.png"]


HOSTILE = ["/etc/1.png", "../1.png", "a/../../1.png", "a//1.png", "./1.png", "a\\1.png", "a\0.png"]


@pytest.mark.parametrize("name", [*HOSTILE, "a/" * 5000 + "1.png", "https://host/1.png", ""])
def test_names_that_lead_elsewhere_are_ignored_and_counted(name):
    ignored: Counter[str] = Counter()
    tree = ListedTree("s3://bucket", [(name, 1, 1), ("new\nline.png", 1, 1)])
    assert [f.path for f in tree.inside("", ignored)[0]] == ["new\nline.png"]
    assert ignored == {"unsafe name": 1}
    assert not is_safe(name)
