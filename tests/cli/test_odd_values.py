"""Nonsense on the command line is refused in a line: no traceback, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fit-head", "--model", ","], "no head is named"),
        (["fit-head", "--model", "all,foo"], "'all' has every head already"),
        (["fit-head", "--views", "-1"], "'--views'"),
        (["fit-head", "--seed", "-1"], "'--seed'"),
        (["fit-head", "--seed", "99999999999999999999"], "'--seed'"),
        (["fit-head", "--repeats", "0"], "'--repeats'"),
        (["learning-curve", "--repeats", "99999999999999999999"], "'--repeats'"),
        (["runs", "--workspace", ""], "an argument is empty"),
        (["predict", "best", "--output=", "a.png"], "--output is empty"),
        (["evaluate", "best", ""], "an argument is empty"),
    ],
)
def test_wrong_usage(arguments, told, shared_project, run_tlx):
    shown = run_tlx(*arguments, cwd=shared_project, code=2)
    assert told in shown.stderr
    assert "Traceback" not in shown.stderr
    assert shown.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["fit-head", "--folds", "99999999999999999999"],
            "fewer than the 99999999999999999999 folds",
        ),
        (["fit-head", "--folds", "0"], "0 folds are too few"),
        (["fit-head", "--C", "nan"], "C = nan"),
        (["fit-head", "--C", "-1"], "C = -1.0"),
        (["fit-head", "--name", "../x"], "is no "),
        (["fit-head", "--dataset", "\x1b[2J"], r"\x1b[2J"),
        (["compare", "--plot", "data"], "data"),
        (["cache", "export", "data"], "data"),
    ],
)
def test_a_known_error(arguments, told, shared_project: Path, run_tlx):
    before = sorted(shared_project.rglob("*"))
    shown = run_tlx(*arguments, cwd=shared_project, code=1)
    assert shown.stderr.startswith("Error: ")
    assert told in shown.stderr
    assert "\x1b" not in shown.stderr
    assert shown.stdout == ""
    assert sorted(shared_project.rglob("*")) == before
