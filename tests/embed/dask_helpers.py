"""A real scheduler of Dask with real workers, as processes that tests may kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HELPERS = Path(__file__).parent


class DaskCluster:
    """A scheduler, and what starts workers for it.

    Attributes
    ----------
    address : str
        As ``--cluster`` takes it.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._environment = {
            **environment,
            "PYTHONPATH": str(HELPERS),
            "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
            "DASK_TEMPORARY_DIRECTORY": str(folder / "scratch"),
        }
        self._file = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start("scheduler", "--port", "0", "--host", "127.0.0.1")
        self._until(self._file.exists)
        self.place = json.loads(self._file.read_text())["address"].removeprefix("tcp://")
        self.address = f"dask://{self.place}"

    def start(self, kind: str, *options: str, prefix: tuple[str, ...] = (), **environment: str):
        """Start ``dask scheduler`` or ``dask worker``; it is in a process group of its own."""
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--no-dashboard"]
        command += ["--scheduler-file", str(self._file), *options]
        with open(self.folder / f"{kind}-{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(
                [*prefix, *command],
                env={**self._environment, **environment},
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_workers(self, count: int, *options: str, **more) -> None:
        """Start so many workers of one thread; nannies start them again when they die."""
        self.start("worker", "--nworkers", str(count), "--nthreads", "1", *options, **more)

    def _until(self, ready) -> None:
        until = time.monotonic() + 60
        while not ready():
            assert time.monotonic() < until, "Dask did not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """End everything, also what is halted."""
        for process in reversed(self.processes):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
