"""The command as a whole: help, exit codes, signals, and what is imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

import tlx
from tlx.cache.shard import read_digests
from tlx.cli.main import app

HEAVY = ("numpy", "tensorflow", "keras", "sklearn", "scipy", "h5py", "openvino", "PIL", "rich")


def commands() -> dict[str, Any]:
    """Return every command by what one types for it."""
    found = {}

    def collect(prefix: str, command) -> None:
        children = getattr(command, "commands", {})
        if prefix and (not children or command.invoke_without_command):
            found[prefix] = command
        for name, child in children.items():
            collect(f"{prefix} {name}".strip(), child)

    collect("", typer.main.get_command(app))
    return found


COMMANDS = commands()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example(name):
    command = COMMANDS[name]
    assert command.help
    assert command.epilog
    assert command.epilog.startswith(f"Example: tlx {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_workspace_and_json(name):
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--json"} <= options
    assert ("--workspace" in options) == (name != "backbones")  # that list is of no workspace


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name):
    assert [p.name for p in COMMANDS[name].params if not getattr(p, "help", None)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_help(name, tlx):
    shown = tlx(*name.split(), "--help").stdout
    assert "Usage: tlx" in shown
    assert f"Example: tlx {name}" in shown


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["embed", "--help"], ["finetune", "--help"]]
)
def test_help_imports_nothing_heavy(arguments, python):
    code = f"""
import sys
from tlx.cli.main import main
sys.argv = ["tlx", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = [name for name in {HEAVY} if name in sys.modules]
assert not heavy, heavy
"""
    python(code)


def test_a_command_imports_no_other(python):
    code = """
import sys
from tlx.cli.main import main
sys.argv = ["tlx", "backbones", "--help"]
try:
    main()
except SystemExit:
    pass
others = {f"tlx.cli.{name}" for name in ("embed", "fit_head", "cache", "runs")} & set(sys.modules)
assert not others, others
"""
    python(code)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["fit-head", "--model", "lda,logreg,centroid"],
        ["compare"],
        ["evaluate", "best", "data"],
        ["audit"],
        ["learning-curve"],
        ["report"],
        ["runs", "show", "best"],
        ["cache", "verify"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_imports_all_that_it_needs(arguments, run_tlx, project):
    """Most tests start commands in processes that have imported NumPy and scikit-learn already."""
    run_tlx(*arguments, cwd=project, fresh=True)


def test_version_of_the_module_and_the_script(tlx):
    assert tlx("--version").stdout == f"tlx {tlx_version()}\n"
    script = os.path.join(os.path.dirname(sys.executable), "tlx")
    if not os.path.exists(script):
        pytest.skip("tlx is not installed as a script beside this Python")
    shown = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"tlx {tlx_version()}\n"


def tlx_version() -> str:
    return tlx.__version__


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["embed"],
        ["embed", "data", "--no-such-option"],
        ["embed", "data", "--seed", "many"],
        ["predict", "best"],
        ["runs", "show"],
    ],
)
def test_wrong_usage_is_2(arguments, tlx):
    shown = tlx(*arguments, code=2)
    assert "Usage: tlx" in shown.stdout + shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_known_error_is_1_with_cause_and_remedy_on_stderr(tlx):
    shown = tlx("embed", "nowhere", code=1)
    assert shown.stdout == ""
    cause, remedy = shown.stderr.splitlines()
    assert cause.startswith("Error: ")
    assert "nowhere does not exist" in cause
    assert remedy == "Check the path."


def test_a_closed_pipe_ends_quietly(project, environment):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "tlx", "runs"],
        cwd=project,
        env=environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert "Traceback" not in process.stderr


@pytest.fixture
def start(tmp_path, environment):
    """Return a function that starts ``tlx embed data`` and waits for files to appear."""

    def run(pattern: str) -> tuple[subprocess.Popen[str], list[Path]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tlx", "embed", "data"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 120
        while not (found := list(tmp_path.glob(pattern))) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return process, found

    return run


@pytest.mark.slow
def test_interruption_in_the_middle_is_130_and_the_next_run_goes_on(
    real_project, class_folders, tmp_path, start, run_tlx
):
    """The signal comes when the first shard is sealed: its images are never lost."""
    class_folders(tmp_path / "data", {"amber": 300, "blue": 300})
    process, shards = start(".tlx/cache/*/[!.]*.h5")
    sealed = len(read_digests(shards[0]))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("this machine was done before the signal came")
    assert (process.returncode, out) == (130, "")
    assert "Interrupted. All finished work is kept" in err
    assert "Traceback" not in err

    unfinished = run_tlx("fit-head", cwd=tmp_path, code=1).stderr
    assert "is not embedded to the end" in unfinished
    again = json.loads(run_tlx("embed", "data", "--json", cwd=tmp_path).stdout)
    assert again["reused"] >= sealed
    assert again["reused"] + again["embedded"] == 600
    assert not list(tmp_path.rglob("*.tmp"))


def test_termination_at_the_start_is_130_too(real_project, class_folders, tmp_path, start, run_tlx):
    """The signal comes while the engine is being loaded."""
    class_folders(tmp_path / "data", {"amber": 8, "blue": 8})
    process, _ = start(".tlx/cache/*")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    again = json.loads(run_tlx("embed", "data", "--json", cwd=tmp_path).stdout)
    assert again["reused"] + again["embedded"] == 16
