"""Costs of mistakes: read, refused where they make no sense, and the cheapest decision."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tlx.classify.costs import Costs, costs_of, named_numbers, read_costs
from tlx.errors import DataError, StorageError, TlxError, UnknownNameError

TWO, THREE = ("cats", "dogs"), ("ant", "bee", "cat")


def test_fp_and_fn_are_about_the_positive_class() -> None:
    assert costs_of("fp=1,fn=20", TWO, "cats").matrix.tolist() == [[0, 20], [1, 0]]
    assert costs_of({"fn": 20, "fp": 1}, TWO, "dogs").matrix.tolist() == [[0, 1], [20, 0]]


def test_the_decision_has_the_least_expected_cost() -> None:
    """Of cats missed at 20 and dogs at 1, cats are taken from a probability of 1 / 21 on."""
    costs = costs_of("fp=1,fn=20", TWO, "cats")
    p = np.array([0.04, 1 / 21 - 1e-6, 1 / 21 + 1e-6, 0.9])
    p = np.stack([p, 1 - p], axis=1)
    assert costs.choose(p).tolist() == [1, 1, 0, 0]
    expected = costs.expected(p)
    assert expected[0].tolist() == pytest.approx([0.96, 0.8])
    best = expected[np.arange(4), costs.choose(p)]
    assert (best <= expected.min(axis=1)).all()


def test_of_equally_cheap_decisions_the_most_probable_is_taken() -> None:
    even = Costs(1 - np.eye(3))
    p = np.random.default_rng(0).dirichlet([1, 1, 1], 100)
    assert (even.choose(p) == p.argmax(axis=1)).all()
    assert Costs(np.array([[0.0, 1], [1, 0]])).choose(np.array([[0.5, 0.5]])).tolist() == [0]


def test_a_column_unknown_is_what_it_costs_to_look() -> None:
    costs = costs_of(np.array([[0, 10, 1], [10, 0, 1.0]]), TWO)
    p = np.array([[0.95, 0.05], [0.85, 0.15], [0.5, 0.5]])
    assert costs.choose(p).tolist() == [0, 2, 2]


def test_a_matrix_is_read_by_its_names(tmp_path) -> None:
    path = tmp_path / "costs.csv"
    path.write_bytes(
        b"\xef\xbb\xbftrue,cat,unknown,ant, bee\r\n"
        b"bee,1,0.5,2,0\r\n\r\nant,3,0.5,0,4\r\ncat,0,.5,5,6\r\n"
    )
    expected = [[0, 4, 3, 0.5], [2, 0, 1, 0.5], [5, 6, 0, 0.5]]
    assert read_costs(path, THREE).tolist() == expected
    assert costs_of(str(path), THREE).matrix.tolist() == expected


def test_a_class_may_be_called_unknown(tmp_path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text(",cats,unknown\ncats,0,1\nunknown,2,0\n")
    assert read_costs(path, ("cats", "unknown")).tolist() == [[0, 1], [2, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("x;cats;dogs\ncats;0;1\n", "has one column only"),
        (",cats,dogs\ncats,0,1\n", "the first column of .* lacks 'dogs'"),
        (",cats\ncats,0\ndogs,1\n", "the first line of .* lacks 'dogs'"),
        (",cats,dog\ncats,0,1\ndogs,1,0\n", "first line of .* unknown class: 'dog'.\nDid you mean"),
        (",cats,dogs\ncats,0,1\ncats,1,0\n", "has 'cats' twice"),
        (",cats,dogs,cats\ncats,0,1,1\ndogs,1,0,1\n", "has 'cats' twice"),
        (",cats,dogs,unknown,unknown\ncats,0,1,1,1\ndogs,1,0,1,1\n", "'unknown' twice"),
        (",cats,dogs\ncats,0\ndogs,1,0\n", "the line of 'cats' has 2 cells, the first 3"),
        (",cats,dogs\ncats,0,much\ndogs,1,0\n", "'much' for 'cats' taken for 'dogs' is no number"),
        (",cats,dogs\ncats,0,\ndogs,1,0\n", "'' for 'cats' taken for 'dogs' is no number"),
        (",cats,dogs\ncats,0,-1\ndogs,1,0\n", "'cats' taken for 'dogs' cannot cost -1"),
        (",cats,dogs\ncats,0,nan\ndogs,1,0\n", "cannot cost nan"),
        (",cats,dogs\ncats,0,1e300\ndogs,1,0\n", r"cannot cost 1e\+300"),
        (",cats,dogs\ncats,0,0\ndogs,1,0\n", "costs no more than being right"),
        (",cats,dogs\ncats,5,1\ndogs,1,0\n", "costs no more than being right"),
        ('"', "no CSV file"),
        ("\ud800", "no CSV file"),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused(tmp_path, text, message) -> None:
    path = tmp_path / "costs.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(TlxError, match=message) as caught:
        costs_of(path, TWO)
    assert caught.value.remedy


def test_files_that_cannot_be_read_are_told(tmp_path) -> None:
    for path in (tmp_path / "gone.csv", tmp_path, "a\0b", "x" * 5000):
        with pytest.raises(StorageError, match=r"the matrix of costs .* cannot be read"):
            costs_of(path, TWO)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is empty"):
        costs_of(tmp_path / "pipe", TWO)
    with open(tmp_path / "huge.csv", "wb") as file:
        file.truncate(2**27)
    with pytest.raises(DataError, match="too large"):
        costs_of(tmp_path / "huge.csv", TWO)


@pytest.mark.parametrize(
    ("cost", "names", "positive", "message"),
    [
        ("fp=1,fn=20", TWO, None, "which class is the positive one.\nAdd --positive dogs"),
        ("fp=1,fn=20", THREE, "ant", "between two classes, and the run has 3"),
        ("fp=1,fn=20", TWO, "cat", "unknown class: 'cat'.\nDid you mean cats"),
        ("fn=20", TWO, "cats", "both of them, not fn"),
        ("fp=1,fn=2,tp=3", TWO, "cats", "not fp, fn, tp"),
        ("fp=1,fn=", TWO, "cats", "'' for 'fn' is no number"),
        ("fp=0,fn=20", TWO, "cats", "costs no more than being right"),
        ("fp=-1,fn=20", TWO, "cats", "cannot cost -1"),
        (np.eye(2), TWO, "cats", "a matrix has neither"),
        ([[0, 1], [2]], TWO, None, "no table of numbers"),
        (np.eye(3), TWO, None, r"costs of shape \(3, 3\) for 2 classes"),
    ],
)
def test_costs_that_make_no_sense_are_refused(cost, names, positive, message) -> None:
    with pytest.raises((DataError, UnknownNameError), match=message):
        costs_of(cost, names, positive)


def test_names_may_hold_commas_and_equal_signs() -> None:
    assert named_numbers("a,b=1,c=d=2e-1", "") == {"a,b": 1, "c=d": 0.2}
    for text in ("", "=", "a", "a=1,b", "a=1,,", "a=1,a=2", "=1"):
        with pytest.raises(DataError):
            named_numbers(text, "a=1")
