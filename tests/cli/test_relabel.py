"""``tlx relabel``: what it shows before and after, and its options."""

from __future__ import annotations

import json
from pathlib import Path

from tlx.cli import relabel
from tlx.relabel import Change, Relabelling


def test_it_shows_what_would_change_applies_it_lists_it_and_takes_it_away(project, run_tlx):
    file = project / "my corrections.csv"
    file.write_text("path,label\namber/wrong.png,blue\ncoral/0000.png,\n")

    def tlx(*arguments, code=0):
        return run_tlx("relabel", *arguments, cwd=project, code=code).stdout

    shown = tlx(file.name)
    assert "'data': 1 label would change, 1 image would be left out" in shown
    assert "Next: tlx relabel 'my corrections.csv' --apply" in shown
    done = json.loads(tlx(file.name, "--apply", "--dataset", "data", "--json"))
    assert done["changed"] == [
        {"path": "amber/wrong.png", "from": "amber", "to": "blue"},
        {"path": "coral/0000.png", "from": "coral", "to": None},
    ]
    assert (done["dataset"], done["applied"]) == ("data", True)
    assert "'data': 2 corrections in effect" in tlx()
    undone = json.loads(tlx("--undo", "--json"))
    assert (project / undone["backup"]).exists()


def test_a_new_class_is_asked_for_by_its_name(project, run_tlx):
    (project / "c.csv").write_text("path,label\namber/wrong.png,green sea\n")
    refused = run_tlx("relabel", "c.csv", cwd=project, code=1).stderr
    assert "--new-class 'green sea'" in refused
    shown = run_tlx("relabel", "c.csv", "--new-class", "green sea", cwd=project).stdout
    assert "Next: tlx relabel c.csv --apply --new-class 'green sea'" in shown


def test_options_that_do_not_go_together_are_a_usage_error(tmp_path, run_tlx):
    for arguments in (["--undo", "c.csv"], ["--apply"]):
        assert "Usage: " in run_tlx("relabel", *arguments, cwd=tmp_path, code=2).stderr


def test_hostile_names_do_not_reach_the_terminal():
    done = Relabelling("pets", [Change("\x1b[2Ja\n.png", "cats", "dogs")])
    assert r"\x1b[2Ja\n.png" in relabel.change_text(done)


def test_of_many_changes_some_are_shown():
    done = Relabelling("pets", [Change(f"{n}.png", "cats", None) for n in range(100)])
    text = relabel.change_text(done)
    assert len(text.splitlines()) < 50
    assert "… and 60 more (--json lists them all)" in text


def test_what_is_not_in_effect_is_listed_with_its_reason():
    text = relabel.list_text(Relabelling("pets", [], stale={"a.png": "another image is there now"}))
    assert "a.png          another image is there now" in text


def test_nothing_to_do_and_nothing_there_are_said():
    assert "all 3 corrections already" in relabel.change_text(Relabelling("pets", [], same=3))
    assert "has no corrections" in relabel.list_text(Relabelling("pets", []))


def test_undo_says_how_to_have_the_corrections_back():
    done = Relabelling("pets", [Change("a.png", None, "cats")], backup=Path("my ws/pets.csv"))
    text = relabel.undo_text(done)
    assert "a.png  left out  cats" in text
    assert text.endswith("To have the corrections back: tlx relabel 'my ws/pets.csv' --apply")
    done = Relabelling("pets", [], backup=Path("pets.csv"), new_classes=("pine marten",))
    text = relabel.undo_text(done, "pets")
    assert text.endswith("pets.csv --apply --new-class 'pine marten' --dataset pets")
    damaged = relabel.undo_text(Relabelling("pets", [], backup=Path("pets.json.bad")))
    assert "were damaged; the file is pets.json.bad now" in damaged
