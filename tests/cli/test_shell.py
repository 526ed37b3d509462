"""What holds for every command alike: shared options, verbosity, errors and their exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


def run_folders(workspace: Path) -> set[str]:
    return {path.name for path in (workspace / "runs").iterdir()}


@pytest.fixture
def two_workspaces(project) -> Path:
    """Return a project with the same run in ``.tlx`` and in ``few``."""
    shutil.copytree(project / ".tlx", project / "few")
    return project


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "--workspace", "few", "rm", "logreg-1"],
        ["--workspace", "few", "runs", "rm", "logreg-1"],
        ["--workspace", ".tlx", "runs", "--workspace", "few", "rm", "logreg-1"],
        ["runs", "--workspace", ".tlx", "rm", "--workspace", "few", "logreg-1"],
    ],
)
def test_a_workspace_before_the_subcommand_holds_for_it(arguments, two_workspaces, run_tlx):
    run_tlx(*arguments, cwd=two_workspaces)
    assert run_folders(two_workspaces / ".tlx") == {"logreg-1"}
    assert run_folders(two_workspaces / "few") == set()


def test_json_before_the_subcommand_holds_for_it(project, run_tlx):
    for arguments in (["runs", "--json", "show", "logreg-1"], ["--json", "runs", "show", "best"]):
        assert json.loads(run_tlx(*arguments, cwd=project).stdout)["run"] == "logreg-1"


def test_options_of_a_group_hold_for_each_of_its_commands(project, run_tlx):
    arguments = ["cache", "--workspace", "elsewhere", "--json", "prune", "--dry-run"]
    told = json.loads(run_tlx(*arguments, cwd=project).stdout)
    assert told == {"dry_run": True, "specs": [], "gathered_bytes": 0}


def test_other_options_before_the_subcommand_are_refused(project, run_tlx):
    told = run_tlx("runs", "--dry-run", "rm", "logreg-1", cwd=project, code=2).stderr
    assert "No such option: --dry-run" in told
    assert run_folders(project / ".tlx") == {"logreg-1"}


# Errors


def test_an_error_is_an_object_with_json(tlx):
    shown = tlx("embed", "nowhere", "--json", code=1)
    told = json.loads(shown.stdout)
    assert set(told) == {"error"}
    assert "nowhere does not exist" in told["error"]["cause"]
    assert told["error"]["remedy"] == "Check the path."
    assert shown.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["fit-head", "--json", "--folds", "many"], "Invalid value for '--folds'"),
        (["--json", "no-such-command"], "No such command 'no-such-command'"),
        (["embed", "--json"], "Missing argument 'DATA'"),
        (["cache", "--json"], "Missing command"),
        (["fit-head", "--no-such", "--json"], "No such option: --no-such"),
    ],
)
def test_wrong_usage_is_an_object_with_json(arguments, cause, tlx):
    shown = tlx(*arguments, code=2)
    error = json.loads(shown.stdout)["error"]
    assert cause in error["cause"]
    assert "--help" in error["remedy"]
    assert shown.stderr == ""


def test_json_after_two_hyphens_is_a_path(tlx):
    shown = tlx("embed", "--", "--json", code=1)
    assert shown.stdout == ""
    assert "--json does not exist" in shown.stderr


def test_what_an_error_advises_has_the_workspace(tlx):
    told = tlx("fit-head", "--workspace", "a b", code=1).stderr
    assert "tlx embed --workspace 'a b' DATA" in told


def test_a_workspace_that_is_a_file_is_one_line(tlx, tmp_path):
    (tmp_path / "file").write_text("x")
    for command in (["runs"], ["fit-head"], ["cache", "info"], ["cache", "verify"]):
        shown = tlx(*command, "--workspace", "file", code=1)
        assert shown.stderr.startswith("Error: ")
        assert "Traceback" not in shown.stderr


# Verbosity


def test_quiet_has_errors_and_results_only(project, run_tlx):
    shown = run_tlx("predict", "best", "data/amber", "--output", "a.csv", "-q", cwd=project, code=0)
    assert (shown.stdout, shown.stderr) == ("", "")


@pytest.mark.parametrize("arguments", [["-q", "embed", "nowhere"], ["embed", "nowhere", "-q"]])
def test_quiet_is_not_silent_about_errors(arguments, tlx):
    assert tlx(*arguments, code=1).stderr.startswith("Error: ")


@pytest.mark.parametrize("arguments", [["-v", "embed", "nowhere"], ["embed", "-v", "nowhere"]])
def test_verbose_shows_where_an_error_came_from(arguments, tlx):
    told = tlx(*arguments, code=1).stderr
    assert "Traceback (most recent call last)" in told
    assert "Error: " in told


@pytest.mark.parametrize("arguments", [["-h"], ["embed", "-h"], ["runs", "rm", "-h"]])
def test_h_is_help(arguments, tlx):
    assert "Usage: tlx" in tlx(*arguments).stdout


def test_completion_can_be_shown(tlx):
    assert "--show-completion" in tlx("--help").stdout
    shown = tlx(
        "--show-completion", "bash", env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert "_TLX_COMPLETE" in shown.stdout


def test_what_comes_next_has_the_workspace(two_workspaces, run_tlx):
    few = ["--workspace", "few"]
    fitted = run_tlx("fit-head", *few, "--name", "again", cwd=two_workspaces).stdout
    assert fitted.endswith("Next: tlx report --workspace few\n")
    compared = run_tlx("compare", *few, cwd=two_workspaces).stdout
    assert "\nNext: tlx fit-head --workspace few --model lda" in compared
    (two_workspaces / "few" / "runs" / "again" / "run.json").write_text("{")
    listed = run_tlx("runs", *few, cwd=two_workspaces)
    assert "tlx runs rm --workspace few again" in listed.stderr
