"""Foreign files are looked at in a process of their own before they are read here.

The checks of `tlx.cache.hdf5` refuse what a hostile file can say in HDF5's own terms. What is left
is libhdf5 itself, which a file made for it might crash or send into a loop without end. That then
happens to a child with bounds on its memory and time, and the file is refused.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import FormatError

_BATCH = 32  # files a child: a start costs a quarter of a second
_SECONDS = 30.0
_MEMORY = 4 * 2**30
_START = f"""import sys
sys.path[:] = sys.argv.pop(1).split("\\n")
from {__name__} import main
main(*sys.argv[1:])"""


def check_apart(kind: str, paths: Sequence[Path], seconds: float = _SECONDS) -> dict[Path, str]:
    """Read files apart from this process, in a child, and return what is wrong with them.

    Parameters
    ----------
    kind : {"shard", "manifest"}
    paths : sequence of Path
    seconds : float, default=30
        How long a batch of 32 files may take before the file at work is given up.

    Returns
    -------
    dict of Path to str
        The reason of each file that must not be used; empty if all are good.
    """
    problems: dict[Path, str] = {}
    left = list(paths)
    while left:
        verdicts = _run_child(kind, left[:_BATCH], seconds)
        for path, verdict in zip(left, verdicts, strict=False):
            if verdict:
                problems[path] = verdict
        if len(verdicts) < len(left[:_BATCH]):  # the child died at this one
            verdicts.append("")
            problems[left[len(verdicts) - 1]] = (
                f"{left[len(verdicts) - 1]} is hostile or damaged: reading it ended the process."
            )
        left = left[len(verdicts) :]
    return problems


def _run_child(kind: str, paths: Sequence[Path], seconds: float) -> list[str]:
    """Return a verdict for each file up to the one that the child did not survive."""
    # Not "-m": that would let Python files in the current folder stand in for its own.
    command = [sys.executable, "-c", _START, "\n".join(sys.path), kind, *map(str, paths)]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds
        )
        output = done.stdout
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout or b""
    whole_lines = output.split(b"\n")[:-1]
    return [json.loads(line) for line in whole_lines]


def main(kind: str, *paths: str) -> None:
    """Print one line of JSON a file: what is wrong with it, or an empty text."""
    _limit_memory()
    read = _readers()[kind]
    for path in paths:
        verdict = ""
        try:
            read(Path(path))
        except FormatError as error:
            verdict = error.cause
        except OSError as error:
            verdict = f"{path}: {error.strerror or error}."
        sys.stdout.write(json.dumps(verdict) + "\n")
        sys.stdout.flush()


def _readers() -> dict[str, Callable[[Path], object]]:
    from .manifest import Manifest
    from .shard import read_rows

    return {"shard": read_rows, "manifest": Manifest.load}


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
