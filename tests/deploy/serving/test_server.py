"""The life of a server: it starts, ends in order, and its workers follow it."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from serving_helpers import SCRIPT

from tlx.deploy.serving.metrics import MULTIPROCESS
from tlx.deploy.serving.server import address, serve
from tlx.deploy.serving.settings import Settings
from tlx.errors import MissingExtraError, TlxError


def test_an_end_waits_for_what_is_in_flight_and_takes_no_more(start_server, amber):
    server = start_server(delay=1.0)
    found = []
    asking = threading.Thread(target=lambda: found.append(server.predict(("a", amber))))
    asking.start()
    time.sleep(0.4)
    start = time.monotonic()
    code, said = server.stop()
    assert (code, said) == (0, "")
    assert time.monotonic() - start < 10
    asking.join()
    assert found[0].json["predictions"][0]["label"] == "amber"
    with pytest.raises(OSError, match="refused"):
        server.get("/")


@pytest.mark.slow
def test_who_does_not_read_or_send_on_does_not_keep_it_from_ending(start_server):
    server = start_server()
    with socket.create_connection((server.host, server.port)) as line:
        line.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
                     b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--")  # fmt: skip
        time.sleep(0.2)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 12


def test_workers_answer_count_together_and_end_with_the_first_process(start_server, amber):
    server = start_server(workers=2)
    for _ in range(10):
        assert server.predict(("a", amber)).status == 200
    assert b'tlx_predictions_total{label="amber"} 10.0' in server.get("/metrics").body
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not tell the children of a process")
    workers = [int(pid) for pid in children.read_text().split() if _serves(int(pid))]
    assert len(workers) == 2
    assert server.stop() == (0, "")
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def _serves(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_workers_do_not_run_the_script_of_the_command_again(run_folder, environment, tmp_path):
    """As an installed command has it, whether or not that asks for its own name."""
    script = tmp_path / "command"
    script.write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    asked = json.dumps({"port": 0, "workers": 2, "run": str(run_folder), "engine": "warp"})
    done = subprocess.run(
        [sys.executable, str(script), asked, "0"], env=environment, capture_output=True, text=True
    )
    # The worker, in which nothing is replaced, looks for that engine.
    assert "unknown engine: 'warp'" in done.stderr, done.stderr


def test_workers_end_when_the_first_process_is_killed(start_server):
    server = start_server(workers=1 + 1)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    end = time.monotonic() + 15
    while time.monotonic() < end:
        try:
            server.get("/v2/health/live")
        except OSError:
            return
        time.sleep(0.1)
    raise AssertionError("a worker still answers")


def test_a_port_that_is_taken_is_told_with_what_to_type(run_folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert address(taken) == f"http://127.0.0.1:{port}"
        with pytest.raises(TlxError, match="cannot be listened to") as caught:
            serve(Settings(run_folder, port=port), print)
    assert "--port" in caught.value.remedy


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_for_counts_that_the_environment_names_is_left_alone(
    run_folder, monkeypatch, tmp_path, workers
):
    seen = []

    def note(*_, **__):
        seen.append(os.environ.get(MULTIPROCESS))
        raise TlxError("this is enough.", "")

    monkeypatch.setenv(MULTIPROCESS, str(tmp_path))
    monkeypatch.setattr("tlx.deploy.serving.server.is_converted", lambda _: True)
    monkeypatch.setattr("tlx.deploy.serving.server.work", note)
    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=note)
    monkeypatch.setattr("multiprocessing.get_context", lambda _: context)
    with pytest.raises(TlxError, match="this is enough"):
        serve(Settings(run_folder, port=0, workers=workers), print)
    assert os.environ[MULTIPROCESS] == str(tmp_path)
    assert len(seen) == 1
    assert (seen[0] is None) == (workers == 1)
    assert seen[0] != str(tmp_path)


def test_a_missing_package_is_told_before_any_work(run_folder, monkeypatch):
    def find_nothing(name):
        return None if name == "fastapi" else object()

    monkeypatch.setattr("importlib.util.find_spec", find_nothing)
    with pytest.raises(MissingExtraError, match="fastapi is not installed") as caught:
        serve(Settings(run_folder), print)
    assert caught.value.remedy == "Run: pip install 'tlx-vision[serve]'"
