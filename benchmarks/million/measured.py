"""What a command costs: its seconds and its peak of memory, in a process of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Wall seconds, and the peak of resident memory in MB."""

    seconds: float
    megabytes: float


def cost_of(*arguments: object) -> Cost:
    """Run ``tlx ARGUMENTS`` and return what it cost; what it prints is shown if it fails."""
    command = [sys.executable, "-m", "tlx", *map(str, arguments)]
    started = time.perf_counter()
    pid = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(seconds, usage.ru_maxrss / unit)


def seconds_to_hash(folder: Path) -> float:
    """Return the seconds that it takes to read and hash every file in `folder`, and no more."""
    started = time.perf_counter()
    for path in sorted(folder.rglob("*.h5")):
        with open(path, "rb") as file:
            hashlib.file_digest(file, "sha256")
    return time.perf_counter() - started
