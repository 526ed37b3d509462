"""How the commands speak: errors, notes, what to type next."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import typer

from tlx.cli import common


@pytest.fixture(autouse=True)
def manners(monkeypatch) -> common.Manners:
    """Return the manners of this test, which are those of a plain call to begin with."""
    manners = common.Manners()
    monkeypatch.setattr(common, "MANNERS", manners)
    return manners


def test_an_error_is_cause_and_remedy_on_stderr_and_an_exit_code(capsys):
    with pytest.raises(typer.Exit) as caught:
        common.fail(1, "no such run.", "See: tlx runs")
    assert caught.value.exit_code == 1
    assert capsys.readouterr() == ("", "Error: no such run.\nSee: tlx runs\n")


def test_with_json_an_error_is_one_object_on_stdout(capsys, manners):
    manners.as_json = True
    with pytest.raises(typer.Exit):
        common.fail(1, "no such run.", "See: tlx runs")
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"cause": "no such run.", "remedy": "See: tlx runs"}}
    assert err == ""


def test_ctrl_c_ends_resumable_work_with_130(capsys):
    with pytest.raises(typer.Exit) as caught, common.resumable():
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err.startswith("Interrupted. All finished work is kept")


def test_json_takes_what_numpy_and_paths_give(capsys):
    common.emit({"a": np.float64(0.5), "b": np.arange(2), "c": Path("photos")})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [0, 1], "c": "photos"}


def test_notes_are_silent_if_asked_results_never(capsys, manners):
    manners.quiet = True
    common.note("embedding")
    common.say("done")
    assert capsys.readouterr() == ("done\n", "")


def test_what_to_type_next_is_for_the_workspace_of_this_command(manners):
    manners.workspace = Path("my photos/.tlx")
    assert common.next_command("tlx predict {} PHOTO.jpg", "a b") == (
        "Next: tlx predict --workspace 'my photos/.tlx' 'a b' PHOTO.jpg"
    )
    assert common.in_workspace("Run tlx backbones.") == "Run tlx backbones."


def test_what_to_type_next_is_for_the_data_set_that_was_named(manners):
    manners.dataset = "old pets"
    assert common.next_command("tlx report") == "Next: tlx report --dataset 'old pets'"
    assert common.in_workspace("tlx report --dataset cats") == "tlx report --dataset cats"
    assert common.in_workspace("Run tlx embed DATA first.") == "Run tlx embed DATA first."
    manners.workspace = Path("w")
    assert common.in_workspace("tlx audit") == "tlx audit --workspace w --dataset 'old pets'"


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert common.painted("Error:", "red", Screen()) == "\x1b[31mError:\x1b[0m"
    assert common.painted("Error:", "red", io.StringIO()) == "Error:"
    monkeypatch.setenv("NO_COLOR", "1")
    assert common.painted("Error:", "red", Screen()) == "Error:"


def test_sentences_break_between_words_on_a_terminal_and_stay_whole_elsewhere(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = "Warning: these figures say nothing about new images.\nNext: " + "x " * 30
    first, second, following = common.on_screen(text, Screen()).split("\n")
    assert (first, second) == ("Warning: these figures say nothing about", "new images.")
    assert following == "Next: " + "x " * 30, "to be copied"
    table = "a table that is wide and has columns    1"
    assert common.on_screen(table, Screen()) == table
    assert common.on_screen(text, io.StringIO()) == common.on_screen(text, None) == text
