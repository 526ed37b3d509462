"""Damaged and hostile runs met by the commands: exit 1 and two lines, never a traceback."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import tlx
from tlx.cache.identity import canonical_json, fingerprint_of

COMMANDS = (
    ("runs",),
    ("runs", "--json"),
    ("runs", "show", "logreg-1"),
    ("runs", "rm", "logreg-1", "--dry-run"),
    ("predict", "logreg-1", "data/blue/0000.png"),
    ("predict", ".tlx/runs/logreg-1", "data/blue/0000.png", "--json"),
    ("predict", "best", "data/blue/0000.png"),
    ("evaluate", "logreg-1", "data"),
    ("compare",),
    ("compare", "logreg-1", "logreg-2"),
    ("cache", "prune", "--dry-run"),
)
# Starts the command again and again in one process: cases in, exit codes and texts out.
DRIVER = """
import contextlib, io, json, sys, time, traceback
from tlx.cli.main import app

def call(arguments):
    out, err = io.StringIO(), io.StringIO()
    started = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            app(args=arguments, prog_name="tlx")
            code = 0
        except SystemExit as error:
            code = error.code or 0
        except BaseException:
            traceback.print_exc()
            code = -1
    return [code, out.getvalue(), err.getvalue(), time.process_time() - started]

commands, good, cases = json.load(sys.stdin)
for arguments in commands:  # imports what they need
    call(arguments)
found = []
for case in cases:
    with open(".tlx/runs/logreg-1/run.json", "w") as file:
        file.write(case)
    found.append([call(arguments) for arguments in commands])
    with open(".tlx/runs/logreg-1/run.json", "w") as file:
        file.write(good)
json.dump(found, sys.stdout)
"""
Answer = tuple[int, str, str, float]


@pytest.fixture
def run(project) -> Path:
    """A run that is damaged in the test, beside one that is not."""
    tlx.fit_head(workspace=project / ".tlx", name="logreg-2")
    return project / ".tlx" / "runs" / "logreg-1"


@pytest.fixture
def answers(python, run) -> Callable[..., list[dict[tuple[str, ...], Answer]]]:
    """Return a function that gives what each command says to each content of run.json."""

    def ask(*cases: str, commands: tuple = COMMANDS) -> list[dict[tuple[str, ...], Answer]]:
        good = (run / "run.json").read_text()
        told = python(
            DRIVER,
            cwd=run.parents[2],
            input=json.dumps([commands, good, list(cases) or [good]]),
        )
        return [dict(zip(commands, map(tuple, one), strict=True)) for one in json.loads(told)]

    return ask


def assert_polite(answers: dict[tuple[str, ...], Answer], what: object) -> None:
    """Exit 0 or 1; with 1 one line of cause and one of remedy, after warnings of runs left out."""
    for command, (code, out, err, seconds) in answers.items():
        told = f"{what}: {command}: {code}\n{out}\n{err}"
        assert code in (0, 1), told
        assert "Traceback" not in err, told
        assert seconds < 1, told
        if code == 1:
            *before, cause, remedy = [
                line for line in err.splitlines() if not line.startswith("Using run ")
            ]
            assert cause.startswith("Error: "), told
            assert remedy, told
            assert len(before) % 2 == 0, told
            assert all(line.startswith("Warning: run ") for line in before[::2]), told


def changed(run: Path, **fields: object) -> str:
    return json.dumps({**json.loads((run / "run.json").read_text()), **fields})


VALUES = (None, [1, "two"], 10**400, "text")
QUICK = (
    ("runs", "--json"),
    ("predict", "logreg-1", "data/blue/0000.png"),
    ("evaluate", "logreg-1", "data"),
    ("compare", "logreg-1", "logreg-2"),
)


def assert_keys_are_checked(run: Path, ask: Callable, commands: tuple, n_values: int) -> None:
    """Set each key of run.json to values of other types in turn."""
    keys = list(json.loads((run / "run.json").read_text()))
    cases = [
        (key, VALUES[(k + v) % len(VALUES)]) for k, key in enumerate(keys) for v in range(n_values)
    ]
    found = ask(*[changed(run, **{key: value}) for key, value in cases], commands=commands)
    for (key, value), said in zip(cases, found, strict=True):
        assert_polite(said, (key, value))
        any_text = {"model", "created", "dataset", "root", "protocol"}
        good = key in any_text and value == "text"
        nullable = {"predict_seconds", "prior", "near_duplicates"}  # which may not be known
        good |= value is None and key in nullable
        assert (said["predict", "logreg-1", "data/blue/0000.png"][0] == 0) == good, (key, value)
        listed = {one["run"] for one in json.loads(said["runs", "--json"][1])["runs"]}
        assert listed == ({"logreg-1", "logreg-2"} if good else {"logreg-2"})


@pytest.mark.slow
def test_each_key_of_another_type_is_refused(run, answers):
    """One each of null, a list, a number without end and a text."""
    assert_keys_are_checked(run, answers, QUICK, 1)


@pytest.mark.slow
def test_each_key_of_every_other_type_is_refused_by_every_command(run, answers):
    assert_keys_are_checked(run, answers, COMMANDS, len(VALUES))


@pytest.mark.parametrize("part", ["../secret", pytest.param("/etc/passwd", marks=pytest.mark.slow)])
def test_parts_outside_the_run_are_refused(run, answers, part):
    (run.parent / "secret").write_text("mine")
    parts = json.loads((run / "run.json").read_text())["parts"]
    (said,) = answers(changed(run, parts={**parts, part: hashlib.sha256(b"mine").hexdigest()}))
    assert_polite(said, part)
    assert f"lists a part outside it: {part!r}" in said["evaluate", "logreg-1", "data"][2]


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def seal(run: Path) -> None:
    """Give each part listed the hash of what it is now, as somebody who forges a run would."""
    info = json.loads((run / "run.json").read_text())
    info["parts"] = {p: hashlib.sha256((run / p).read_bytes()).hexdigest() for p in info["parts"]}
    (run / "run.json").write_text(json.dumps(info))


def bomb(path: Path, name: str) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        file.create_dataset(name, (10**12, 3), np.float32, chunks=(64, 3))


def pickled(run: Path) -> None:
    (run / "head.h5").write_bytes(pickle.dumps(Evil(run.parents[2] / "ran")))
    seal(run)


def bomb_of_a_head(run: Path) -> None:
    bomb(run / "head.h5", "weights")
    seal(run)


def bomb_of_predictions(run: Path) -> None:
    bomb(run / "predictions.h5", "probabilities")
    seal(run)


def link_out(run: Path) -> None:
    shutil.move(run / "head.h5", run.parents[1] / "head.h5")
    (run / "head.h5").symlink_to(run.parents[1] / "head.h5")


def other_hash(run: Path) -> None:
    with open(run / "predictions.h5", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")


def no_head(run: Path) -> None:
    (run / "head.h5").unlink()


def no_predictions(run: Path) -> None:
    (run / "predictions.h5").unlink()


DEEDS = {
    pickled: ("head.h5 is no head: it is no HDF5 file", {"predict", "evaluate"}),
    bomb_of_a_head: ("claims 12,000,000,000,000 bytes in a file of", {"predict", "evaluate"}),
    bomb_of_predictions: ("claims 12,000,000,000,000 bytes", {"evaluate", "compare", "show"}),
    link_out: ("head.h5 is a link to a place outside the run", {"predict", "evaluate", "show"}),
    other_hash: ("is not what the run was saved with", {"predict", "evaluate", "compare", "show"}),
    no_head: ("lacks its part head.h5", {"predict", "evaluate"}),
    no_predictions: ("lacks its part predictions", {"compare"}),
}


FAST = {pickled, bomb_of_a_head, link_out, other_hash}


@pytest.mark.parametrize(
    "deed",
    [deed if deed in FAST else pytest.param(deed, marks=pytest.mark.slow) for deed in DEEDS],
    ids=lambda deed: deed.__name__,
)
def test_hostile_parts_are_refused_and_nothing_is_run(run, answers, deed):
    message, commands = DEEDS[deed]
    deed(run)
    (said,) = answers()
    assert_polite(said, deed)
    for command, (code, _, err, _) in said.items():
        if commands & set(command) and "best" not in command:
            assert code == (0 if command == ("compare",) else 1), command  # the others are ranked
            assert message in err
            assert "fit it again" in err.lower() or command[0] == "cache"
    assert not (run.parents[2] / "ran").exists()


def own_network(run: Path, data: bytes) -> None:
    """Make the run one of a network of its own, of which the workspace has no features."""
    (run / "evil.keras").write_bytes(data)
    info = json.loads((run / "run.json").read_text())
    fields = json.loads(info["sources"][0]["spec"])
    fields |= {"backbone": "keras:evil.keras", "weights": hashlib.sha256(data).hexdigest()}
    spec = canonical_json(fields)
    source = {"fingerprint": fingerprint_of(spec), "spec": spec, "weights": "evil.keras"}
    parts = {**info["parts"], "evil.keras": fields["weights"]}
    (run / "run.json").write_text(json.dumps({**info, "sources": [source], "parts": parts}))


def lambda_model(path: Path) -> bytes:
    """A saved model of one Lambda layer, written by hand: its code would make a file."""
    shape = [None, 32, 32, 3]
    code = {"class_name": "__lambda__", "config": {"code": "open('ran', 'w')"}}
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": shape, "name": "x"}},
        {"class_name": "Lambda", "config": {"name": "evil", "function": code}},
    ]
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": layers}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    return path.read_bytes()


def test_a_lambda_layer_in_a_runs_network_is_refused_and_not_run(run, run_tlx, tmp_path):
    own_network(run, lambda_model(tmp_path / "evil.keras"))
    folder = run.parents[2]
    for command in (
        ("predict", "logreg-1", "data/blue/0000.png"),
        ("evaluate", "logreg-1", folder / "data"),
    ):
        told = run_tlx(*command, cwd=folder, code=1).stderr
        assert "has a Lambda layer, which is Python code of whoever saved it." in told
        assert "Traceback" not in told
    assert not (folder / "ran").exists()


def test_a_network_that_is_a_pickle_is_refused_and_not_run(run, run_tlx):
    own_network(run, pickle.dumps(Evil(run.parents[2] / "ran")))
    told = run_tlx("predict", "logreg-1", "data/blue/0000.png", cwd=run.parents[2], code=1).stderr
    assert "evil.keras" in told
    assert "Traceback" not in told
    assert not (run.parents[2] / "ran").exists()


def test_weights_that_are_not_there_are_named(run, run_tlx):
    info = json.loads((run / "run.json").read_text())
    fields = json.loads(info["sources"][0]["spec"]) | {"weights": "0" * 64}
    spec = canonical_json(fields)
    for weights, message in (
        ("imagenet", "are not those of run logreg-1"),
        ("/nowhere/weights.h5", "/nowhere/weights.h5"),
    ):
        source = {"fingerprint": fingerprint_of(spec), "spec": spec, "weights": weights}
        (run / "run.json").write_text(json.dumps({**info, "sources": [source]}))
        told = run_tlx("predict", "logreg-1", "data/blue/0000.png", cwd=run.parents[2], code=1)
        assert message in told.stderr
        assert "Traceback" not in told.stderr


def test_the_list_goes_on_with_a_warning_and_the_damaged_run_can_be_removed(run, run_tlx):
    folder = run.parents[2]
    (run / "run.json").write_text("{")
    told = run_tlx("runs", cwd=folder)
    assert [line.split()[0] for line in told.stdout.splitlines()] == ["run", "logreg-2"]
    cause, remedy = told.stderr.splitlines()
    assert cause.startswith("Warning: run logreg-1 is left out: .tlx/runs/logreg-1 is no run: ")
    assert remedy == "Fit it again, or: tlx runs rm logreg-1"
    assert run_tlx("runs", "rm", "logreg-1", cwd=folder).stdout == "removed logreg-1\n"
    assert run_tlx("runs", cwd=folder).stderr == ""
