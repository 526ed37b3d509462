"""Text for people: tables and figures."""

from __future__ import annotations

import os

import pytest

from tlx.classify.scoring.metrics import Metric
from tlx.cli import render


def test_table_aligns_text_left_and_numbers_right():
    assert render.table(["class", "n"], [["cats", 7], ["dogs", 1234]]) == (
        "class     n\ncats      7\ndogs   1234"
    )


def test_table_without_rows_is_its_header():
    assert render.table(["path", "label"], []) == "path  label"


def test_table_counts_the_columns_of_wide_and_combining_characters():
    rows = [["猫", "x"], ["cafe\u0301", "x"], ["abcd", "x"]]
    lines = render.table(["class", "v"], rows).splitlines()
    assert lines[1:] == ["猫     x", "cafe\u0301   x", "abcd   x"]


def test_table_escapes_what_does_not_print():
    text = render.table(["path"], [["a\nb"], ["\x1b[2J"], ["\udcff"], ["ü ok"]])
    assert text.splitlines() == ["path", r"a\nb", r"\x1b[2J", r"\udcff", "ü ok"]


def test_metric_rows():
    rows = render.metric_rows({"log_loss": Metric(0.25, 0.1, 0.41239)})
    assert rows == [["log loss", "0.2500", "0.1000 to 0.4124"]]


def test_confusion_of_few_classes_is_the_matrix():
    assert render.confusion_table([[3, 0], [1, 20]], ["cat", "dog"]).splitlines() == [
        "true \\ predicted  cat  dog",
        "cat                 3    0",
        "dog                 1   20",
    ]


def test_confusion_of_many_classes_is_the_worst_pairs():
    names = [f"c{i}" for i in range(13)]
    matrix = [[5 if i == j else 0 for j in range(13)] for i in range(13)]
    matrix[2][3], matrix[4][1] = 1, 7
    assert render.confusion_table(matrix, names).splitlines() == [
        "true  predicted  images",
        "c4    c1              7",
        "c2    c3              1",
    ]


@pytest.mark.parametrize(("share", "text"), [(0, "0.0%"), (1, "100.0%"), (0.98747, "98.7%")])
def test_percent(share, text):
    assert render.percent(share) == text


def test_counts_of_many_is_the_range():
    numbers = {f"c{i}": i + 3 for i in range(9)}
    assert render.counts(numbers) == "9 classes of 3 to 11 images"


def test_paths_in_the_current_folder_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert render.short_path(str(tmp_path / "photos" / "a.jpg")) == os.path.join("photos", "a.jpg")
    beside = f"{tmp_path}-2/a.jpg"
    assert render.short_path(beside) == beside
