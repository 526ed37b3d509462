"""The runs of a workspace: names, lists, and those that are damaged."""

from __future__ import annotations

import json
import logging

import pytest

from tlx.classify.fit import fit_head, fit_heads
from tlx.classify.runs.best import load_run
from tlx.classify.runs.store import list_runs, remove_runs
from tlx.errors import DataError, FormatError, TlxError, UnknownNameError


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".hidden", "best", "two words", "x" * 300])
def test_a_name_that_could_not_be_used_is_refused(two_runs, name):
    before = sorted(two_runs.root.rglob("*"))
    with pytest.raises(DataError, match="is no name for a run"):
        fit_head("centroid", workspace=two_runs.root, name=name)
    assert sorted(two_runs.root.rglob("*")) == before


def test_a_name_that_is_taken_is_refused_before_anything_is_fitted(two_runs):
    fit_head("centroid", workspace=two_runs.root, name="own-knn")
    with pytest.raises(DataError, match="there is a run 'own-knn' already") as told:
        fit_heads(["centroid", "knn"], workspace=two_runs.root, name="own")
    assert "tlx runs rm own-knn" in told.value.remedy
    assert not (two_runs.runs / "own-centroid").exists()


def test_a_run_without_its_json_is_named_and_not_unknown(run):
    (run / "run.json").unlink()
    with pytest.raises(FormatError, match=r"run centroid-1 lacks its part run\.json"):
        load_run("centroid-1", run.parents[1])


def test_names_that_cannot_be_a_folder_are_unknown_runs(run):
    for name in ("x" * 5000, "..", ".", "centroid", ""):
        with pytest.raises(UnknownNameError, match="unknown run"):
            load_run(name, run.parents[1])


def test_damaged_runs_are_told_and_do_not_hide_the_others(two_runs, run, caplog):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "metrics": None}))
    with caplog.at_level(logging.WARNING, "tlx"):
        assert [one.id for one in list_runs(two_runs)] == ["knn-1"]
    (record,) = caplog.records
    cause, remedy = record.getMessage().splitlines()
    assert cause.startswith("Warning: run centroid-1 is left out: run centroid-1 has metrics null")
    assert remedy == "Fit it again, or: tlx runs rm centroid-1"


def test_a_caller_can_take_the_damaged_runs(two_runs, run):
    (run / "run.json").write_text("{")
    told: list[tuple[str, TlxError]] = []
    list_runs(two_runs, lambda run_id, error: told.append((run_id, error)))
    assert [(name, type(error)) for name, error in told] == [("centroid-1", FormatError)]


def test_damaged_runs_can_be_removed(two_runs, run):
    (run / "run.json").unlink()
    assert remove_runs(two_runs, ["centroid-1"]) == ["centroid-1"]
    assert not run.exists()
    assert [one.id for one in list_runs(two_runs)] == ["knn-1"]
