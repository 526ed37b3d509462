"""``tlx runs`` and ``tlx runs show``."""

from __future__ import annotations

import json
import re

from tlx.cli.render import local_minute


def test_json_has_the_keys_of_the_contract(shared_project, run_tlx):
    (run,) = json.loads(run_tlx("runs", "--json", cwd=shared_project).stdout)["runs"]
    assert set(run) >= {"run", "model", "created", "dataset", "metrics"}
    assert (run["run"], run["model"], run["dataset"]) == ("logreg-1", "logreg", "data")
    assert set(run["metrics"]["accuracy"]) == {"value", "low", "high"}


def test_table(shared_project, run_tlx):
    header, row = run_tlx("runs", cwd=shared_project).stdout.splitlines()
    assert header.startswith("run       model   data set  protocol")
    assert row.startswith("logreg-1  logreg  data      nested 5-fold  0.")


def test_runs_are_listed_oldest_first(project, tlx):
    tlx("fit-head", cwd=project)
    tlx("fit-head", cwd=project)
    listed = json.loads(tlx("runs", "--json", cwd=project).stdout)["runs"]
    assert [run["run"] for run in listed] == ["logreg-1", "logreg-2", "logreg-3"]


def test_no_runs_yet(tlx, tmp_path):
    told = f"No runs in {tmp_path / '.tlx'} yet. Next: tlx fit-head --model logreg,lda\n"
    assert tlx("runs").stdout == told
    assert json.loads(tlx("runs", "--json").stdout) == {"runs": []}


def test_show_says_what_the_fit_said(project, tlx):
    fitted = json.loads(tlx("fit-head", "--json", cwd=project).stdout)
    shown = json.loads(tlx("runs", "show", "logreg-2", "--json", cwd=project).stdout)
    assert fitted == {**shown, "before": None}  # which is of the fit, not of the run
    assert "metric " in tlx("runs", "show", "best", cwd=project).stdout


def test_show_best_says_what_choosing_it_adds(project, tlx):
    alone = tlx("runs", "show", "best", cwd=project)
    assert "Choosing" not in alone.stderr
    tlx("fit-head", "--model", "lda,centroid", cwd=project)
    told = json.loads(tlx("runs", "show", "best", "--json", cwd=project).stdout)
    assert told["chosen_among"] == 3
    assert set(told["best_corrected"]) == {"value", "low", "high"}
    shown = tlx("runs", "show", "best", cwd=project)
    assert f"Choosing the best of 3 by log loss flatters {told['run']} by" in shown.stderr


def test_show_unknown_run_names_the_nearest(shared_project, run_tlx):
    shown = run_tlx("runs", "show", "logreg-11", cwd=shared_project, code=1)
    assert shown.stderr == "Error: unknown run: 'logreg-11'.\nDid you mean logreg-1?\n"


def test_a_broken_run_does_not_hide_the_others(project, tlx):
    (project / ".tlx" / "runs" / "broken").mkdir()
    (project / ".tlx" / "runs" / "broken" / "run.json").write_text("{")
    listed = json.loads(tlx("runs", "--json", cwd=project).stdout)["runs"]
    assert [run["run"] for run in listed] == ["logreg-1"]


def test_the_table_tells_the_minute_a_run_was_made(shared_project, run_tlx):
    (run,) = json.loads(run_tlx("runs", "--json", cwd=shared_project).stdout)["runs"]
    row = run_tlx("runs", cwd=shared_project).stdout.splitlines()[1]
    assert row.endswith(f"  {local_minute(run['created'])}")


def test_local_minute_is_short_and_keeps_what_is_no_time():
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d", local_minute("2026-11-25T01:22:16.768853+00:00")
    )
    assert local_minute("some day") == "some day"
