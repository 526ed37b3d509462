"""``tlx serve`` in a real process, with the real network."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import tlx

pytest.importorskip("fastapi", reason="the extra serve is not installed")


def test_it_says_where_serves_and_ends_in_order_without_tensorflow(real_project, environment):
    process = subprocess.Popen(
        [sys.executable, "-m", "tlx", "serve", "--port", "0", "--json"],
        cwd=real_project.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        with urllib.request.urlopen(f"{told['address']}/v2/models/{told['run']}") as answer:
            assert json.load(answer)["parameters"]["class_names"] == ["amber", "blue"]
        if (maps := Path(f"/proc/{process.pid}/maps")).exists():
            assert "tensorflow" not in maps.read_text()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert said.splitlines()[-1] == "Ended."


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [("--requests", "10000"), ("--soak", "600")], ids=lambda how: how[0]
)
def test_it_withstands_a_siege_and_a_long_time(real_project, environment, how):
    """10,000 hostile requests get no 5xx but 503; 10 minutes of good ones take no more memory."""
    (run,) = (real_project.folder / ".tlx" / "runs").iterdir()
    photo = real_project.folder / "data" / "amber" / "0000.png"
    script = Path(tlx.__file__).parent / "benchmarks" / "siege.py"
    command = [sys.executable, str(script), str(run), str(photo), *how]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_network_that_was_never_used_here_is_converted_apart(real_project, environment, tmp_path):
    command = [sys.executable, "-m", "tlx", "serve", "--port", "0", "--json"]
    process = subprocess.Popen(
        command,
        cwd=real_project.folder,
        env={**environment, "TLX_CACHE_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "tensorflow" not in maps
    assert "is converted, once for all" in said


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--host", "0.0.0.0"], "TLX_TOKEN"),
        (["--token", "short"], "8 or more"),
        (["--allow-origin", "*"], "origin"),
        (["no-such-run"], "no-such-run"),
    ],
)
def test_what_cannot_be_is_refused_at_once(run_tlx, tmp_path, options, why):
    told = run_tlx("serve", "--json", *options, code=1, cwd=tmp_path)
    error = json.loads(told.stdout)["error"]
    assert why in error["cause"] + error["remedy"]
