"""Data sets that are listed in a CSV file."""

from __future__ import annotations

import os

import pytest

from tlx.embed.dataset import scan
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


@pytest.fixture
def table(tmp_path, class_folders):
    """Return a function that writes ``labels.csv`` beside four images and scans it."""
    class_folders(tmp_path, {"x": 4})

    def scan_csv(text: str | bytes):
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return scan(path)

    return scan_csv


def test_csv(table, tmp_path):
    found = table("path,label\nx/0000.png,cat\nx/0001.png,dog\n")
    assert found.layout == "csv"
    assert labels(found) == {"x/0000.png": "cat", "x/0001.png": "dog"}
    assert found.manifest.root == str(tmp_path)


def test_csv_splits_and_groups(table):
    found = table("path,label,split,group\nx/0000.png,a,Train,p1\nx/0001.png,a,val,p2\n")
    assert found.manifest.split == ["train", "validation"]
    assert found.manifest.group == ["p1", "p2"]


def test_csv_without_labels_is_taken_and_told(table):
    found = table("path\nx/0000.png\n")
    assert labels(found) == {"x/0000.png": None}
    assert found.notes == ["labels.csv has no column 'label': its images have no classes"]


def test_csv_whose_labels_have_another_name_is_told_which(table):
    assert "is 'species' meant?" in table("path,species\nx/0000.png,ant\n").notes[0]


def test_csv_whose_paths_do_not_exist_says_where_they_were_looked_for(table, tmp_path):
    with pytest.raises(DataError, match=r"none of the 2 files .*/y/0\.png \(no such") as caught:
        table("path,label\ny/0.png,a\ny/1.png,b\n")
    assert str(tmp_path) in caught.value.remedy


def test_csv_with_some_labels(table):
    assert list(labels(table("path,label\nx/0000.png,a\nx/0001.png,\n")).values()) == ["a", None]


def test_csv_of_a_spreadsheet(table):
    """A byte order mark, Windows line ends, quotes, and a blank line at the end."""
    found = table('\ufeffpath,label\r\n"x/0000.png","big, black"\r\n\r\n')
    assert labels(found) == {"x/0000.png": "big, black"}


def test_csv_header_may_have_spaces_and_capitals(table):
    assert labels(table("Path, Label\nx/0000.png, cat\n")) == {"x/0000.png": "cat"}


def test_csv_columns_unknown_to_tlx_are_passed_over(table):
    assert labels(table("id,path,label\n7,x/0000.png,a,surplus\n")) == {"x/0000.png": "a"}


def test_csv_with_absolute_paths(table, tmp_path):
    absolute = str(tmp_path / "x" / "0000.png")
    found = table(f"path,label\n{absolute},a\n")
    assert os.path.samefile(found.manifest.file(0), absolute)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column 'path': it is empty"),
        ("file,label\nx,y\n", "has no column 'path': file, label"),
        ("path;label\nx;y\n", "has no column 'path'"),
        ("path,label\nx/0000.png,a\n./x//0000.png,a\n", "line 3: 'x/0000.png' is there twice"),
        ("path,label\n ,a\n", "line 2: the path is empty"),
        ("path,split\nx/0000.png,other\n", "line 2: unknown split 'other'"),
        (b"path,label\nx/0000.png,caf\xe9\n", "is not a CSV file in UTF-8"),
        ("path,label\n", "no images in"),
    ],
)
def test_csv_that_cannot_be_understood(table, text, message):
    with pytest.raises(DataError, match=message) as caught:
        table(text)
    assert caught.value.remedy


def test_csv_row_without_its_file_keeps_the_reason(table):
    found = table("path,label\nx/0000.png,a\ngone.png,a\nx,a\n")
    assert errors(found) == {"gone.png": "no such file or directory", "x": "not a regular file"}


def test_csv_path_with_a_nul_is_a_row_with_a_reason(table):
    found = table("path,label\nx/0000.png,a\nx/\0.png,a\n")
    assert list(errors(found).values()) == ["not a file name"]


def test_csv_that_may_not_be_read(table, tmp_path, deny):
    table("path\nx/0000.png\n")
    deny(tmp_path / "labels.csv", 0)
    with pytest.raises(DataError, match=r"labels.csv cannot be read: Permission denied"):
        scan(tmp_path / "labels.csv")
