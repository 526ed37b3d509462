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
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from ..errors import FormatError

_BATCH = 256  # files a child: a start costs as much as reading twenty shards
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
        How long a file may take before it is given up.

    Returns
    -------
    dict of Path to str
        The reason of each file that must not be used; empty if all are good.
    """
    return {path: verdict for path, verdict in check_each(kind, paths, seconds) if verdict}


def check_each(
    kind: str, paths: Sequence[Path], seconds: float = _SECONDS
) -> Iterator[tuple[Path, str]]:
    """Do what `check_apart` does, and tell of each file, in order, as soon as it was read.

    The child reads on meanwhile.

    Yields
    ------
    tuple of Path and str
        Each file and why it must not be used; an empty text if it is good.
    """
    left = list(paths)
    while left:
        batch = left[:_BATCH]
        seen = 0
        with contextlib.closing(_verdicts(kind, batch, seconds)) as verdicts:
            for path, verdict in zip(batch, verdicts, strict=False):
                seen += 1
                yield path, verdict
        if seen < len(batch):  # the child died at this one
            path = batch[seen]
            seen += 1
            yield path, f"{path} is hostile or damaged: reading it ended the process."
        left = left[seen:]


def _verdicts(kind: str, paths: Sequence[Path], seconds: float) -> Generator[str, None, None]:
    """Yield a verdict for each file up to the one that the child does not survive."""
    # Not "-m": that would let Python files in the current folder stand in for its own.
    command = [sys.executable, "-c", _START, "\n".join(sys.path), kind]
    with tempfile.TemporaryFile() as names:  # a command line may not be long enough
        names.write(json.dumps([str(path) for path in paths]).encode())
        names.seek(0)
        child = subprocess.Popen(
            command, stdin=names, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    with child:
        assert child.stdout is not None
        try:
            for _ in paths:
                deadline = threading.Timer(seconds, child.kill)
                deadline.daemon = True
                deadline.start()
                try:
                    line = child.stdout.readline()
                finally:
                    deadline.cancel()
                if not line.endswith(b"\n"):
                    return
                yield json.loads(line)
        finally:
            child.kill()


def main(kind: str) -> None:
    """Print one line of JSON a file: what is wrong with it, or an empty text.

    The files are those of the JSON list on the standard input.
    """
    _limit_memory()
    read = _readers()[kind]
    for path in json.load(sys.stdin):
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
