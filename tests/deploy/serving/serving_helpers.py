"""A server of drawn photos in a process of its own, and what asks it."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# The engine of the tests in place of a network: the server is the same otherwise.
SCRIPT = """
import json, sys
import numpy as np
import tlx.classify.opened as opened
import tlx.deploy.serving.server as server
from tlx.deploy.serving.settings import Settings

class Grid:
    name, note, output_shape = "grid", "", (48,)
    def __call__(self, batch):
        fields = batch.reshape(len(batch), 4, 56, 4, 56, 3).mean((2, 4))
        return (fields.reshape(len(batch), 48) / 255).astype(np.float32)

def slow_grid(*_):
    import time
    grid = Grid()
    def engine(batch):
        time.sleep(float(sys.argv[2]))
        return grid(batch)
    return engine

server.is_converted = lambda spec: True
opened.load_engine = slow_grid
opened.run_backbone = lambda *_: None
if __name__ == "__main__":
    server.serve(Settings(**json.loads(sys.argv[1])), lambda where: print(where, flush=True))
"""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A server that was started, and how to ask it."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address
        found = re.fullmatch(r"http://(.+):(\d+)", address)
        assert found, address
        self.host, self.port = found[1], int(found[2])

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("GET", path, headers=headers)

    def predict(self, *files: tuple[str, bytes], headers: dict[str, str] | None = None) -> Answer:
        """Send files as a form does."""
        body, kind = form(*files)
        return self.ask("POST", "/predict", body, {"Content-Type": kind, **(headers or {})})

    def stop(self) -> tuple[int, str]:
        """Ask it to end; return its exit code and what it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


def form(*files: tuple[str, bytes]) -> tuple[bytes, str]:
    """Return the body of a form with files, and its content type."""
    parts = [
        b"--frontier\r\nContent-Disposition: form-data; name=\"files\"; filename=\""
        + name.encode() + b"\"\r\nContent-Type: application/octet-stream\r\n\r\n" + data + b"\r\n"
        for name, data in files
    ]  # fmt: skip
    return b"".join(parts) + b"--frontier--\r\n", "multipart/form-data; boundary=frontier"


def start(
    run: Path, environment: dict[str, str], script: Path, delay: float = 0.0, **settings: Any
) -> Server:
    """Start a server of a run, and wait until it is ready."""
    script.write_text(SCRIPT)
    asked = json.dumps({"port": 0, **settings, "run": str(run)})
    process = subprocess.Popen(
        [sys.executable, str(script), asked, str(delay)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise AssertionError(process.communicate()[1])
    return Server(process, line)


def pixels(n: int = 1) -> np.ndarray:
    """Return drawn pixels of the size that the runs of the tests take."""
    return np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), np.uint8)
