"""``tlx serve`` in a real process, with the real network."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

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
        with open(f"/proc/{process.pid}/maps") as maps:
            assert "tensorflow" not in maps.read()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert said.splitlines()[-1] == "Ended."


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--host", "0.0.0.0"], "TLX_TOKEN"),
        (["--token", "short"], "8 or more"),
        (["--allow-origin", "*"], "origin"),
        (["no-such-run"], "no-such-run"),
    ],
)
def test_what_cannot_be_is_refused_at_once(tlx, options, why):
    told = tlx("serve", "--json", *options, code=1)
    error = json.loads(told.stdout)["error"]
    assert why in error["cause"] + error["remedy"]
