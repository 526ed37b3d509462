"""Text for people: tables and figures."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from tlx.classify.duplicates import ToldDuplicates
from tlx.classify.scoring.classes import ClassReport
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


def reports(n):
    figures = [Metric(i / n, 0.0, 1.0) for i in range(n)]
    return [ClassReport(f"c{i}", 5, None, f, f) for i, f in enumerate(figures)]


def test_classes_have_their_figures_with_intervals():
    assert render.class_table(reports(2)).splitlines() == [
        "class  images  recall             precision  F1",
        "c0          5  0.000 (0.00-1.00)  -          0.000 (0.00-1.00)",
        "c1          5  0.500 (0.00-1.00)  -          0.500 (0.00-1.00)",
    ]


def test_of_many_classes_the_worst_are_shown():
    lines = render.class_table(reports(30)[::-1]).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [*(f"c{i}" for i in range(10)), "…"]
    assert lines[-1] == "… the 10 of 30 classes with the least F1; --json lists them all"
    assert max(map(len, lines)) <= 80


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


# On a terminal of some width


def test_a_table_fits_the_terminal_and_figures_stay_whole():
    rows = [["photos/" + "x" * 90 + "/0001.jpg", "0.9500 to 0.9700", "taken for " + "y" * 30]]
    shown = render.table(["path", "95% interval", "label"], rows, width=80).splitlines()
    assert all(render.text_width(line) <= 80 for line in shown)
    assert "0.9500 to 0.9700" in shown[1]
    assert shown[1].startswith("photos/xxx")
    assert "/0001.jpg  " in shown[1]


def test_wide_characters_are_shortened_to_whole_ones():
    shown = render.table(["class", "n"], [["猫" * 30, 7]], width=20).splitlines()
    assert shown[1].startswith("猫猫")
    assert "…" in shown[1]
    assert render.text_width(shown[1]) <= 20


def test_optional_columns_go_first():
    header, rows = ["run", "time", "p"], [["a" * 20, "1.5 s", "0.5"]]
    assert "time" in render.table(header, rows, optional=["time"], width=32)
    narrow = render.table(header, rows, optional=["time"], width=28)
    assert "time" not in narrow
    assert "a" * 20 in narrow


def test_what_is_not_a_terminal_has_no_bound():
    assert "x" * 300 in render.table(["path"], [["x" * 300]])


def test_a_matrix_that_is_too_wide_becomes_pairs(monkeypatch):
    names = [f"a class with a long name {i}" for i in range(9)]
    matrix = [[5 if i == j else 0 for j in range(9)] for i in range(9)]
    matrix[1][2] = 3
    monkeypatch.setattr(render, "screen_width", lambda: 80)
    shown = render.confusion_table(matrix, names).splitlines()
    assert shown[0].split() == ["true", "predicted", "images"]
    assert len(shown) == 2


@pytest.mark.parametrize(("colourful", "lines"), [(True, 1), (False, 0)])
def test_the_best_is_green_on_a_terminal_that_may_have_colour(colourful, lines, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "" if colourful else "1")
    shown = render.table(["run"], [["a"], ["b"]], best=0)
    assert shown.count("\x1b[32m") == lines


def test_counts_escape_what_does_not_print():
    assert render.counts({"a\nb": 2, "cats": 3}) == "a\\nb 2, cats 3"


@pytest.mark.parametrize(
    ("kept", "gain", "fits", "text"),
    [
        ("last + low", 0.04, 1, "last + low, chosen by inner folds. Its inner log loss is 0.0400"),
        ("last", 0.01, 5, "last, chosen in 4 of 5 folds and for the kept head. The inner log loss"),
        ("last", 0.01, 5, "of last + low is 0.0100 below that of last: 1.0 standard errors, and"),
        ("last", -0.01, 5, "head. No others have a lower inner log loss."),
    ],
)
def test_which_features_were_chosen_and_why(kept, gain, fits, text):
    candidates = [
        {"features": "last", "gain": 0.0, "standard_error": 0.0, "chosen": 4},
        {"features": "last + low", "gain": gain, "standard_error": 0.01, "chosen": 1},
    ]
    shown = render.features_text({"kept": kept, "fits": fits, "candidates": candidates}, of="lda")
    assert shown.startswith(f"Features of lda: {kept}, chosen ")
    assert text in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("protocol", "across", "beginning"),
    [
        ("validation split", 12, "12 validation images are near-duplicates of training images"),
        ("validation split", 1, "1 validation image is a near-duplicate of training images"),
        ("nested 5-fold", 1234, "1,234 images are near-duplicates of images of other folds"),
    ],
)
def test_near_duplicates_on_both_sides_are_one_sentence(protocol, across, beginning):
    info = SimpleNamespace(protocol=protocol, near_duplicates=ToldDuplicates("ignore", across))
    lines = render.near_lines(info)
    assert " ".join(lines).startswith(beginning)
    assert "--near-duplicates group" in " ".join(lines)
    assert max(map(len, lines)) <= 80


def test_near_duplicates_that_were_not_looked_for_are_not_called_none():
    (line,) = render.near_lines(SimpleNamespace(protocol="5-fold", near_duplicates=None))
    assert "were not looked for" in line
    assert len(line) <= 80


def test_without_near_duplicates_nothing_is_said():
    told = ToldDuplicates("group", 0)
    assert render.near_lines(SimpleNamespace(protocol="5-fold", near_duplicates=told)) == []
