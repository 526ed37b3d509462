"""Run tlx in processes that start with NumPy and its like imported already, each forked from here.

To import them takes longer than most commands of the tests do. Nothing of tlx itself is imported
before, so that a command imports what it needs of it, as it does for a user.

Each line of stdin is a request, each of stdout the exit code of what was asked.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import h5py  # noqa: F401
import PIL.Image  # noqa: F401
import sklearn.linear_model  # noqa: F401
import typer


def parse_something() -> None:
    """Parse a command line, so that what Typer imports for it is there."""

    def nothing(path: Path = Path(), names: list[str] | None = None, number: int = 0) -> None:
        pass

    app = typer.Typer()
    app.command()(nothing)
    app([], standalone_mode=False)


def become(asked: dict[str, Any]) -> None:
    """Make this process one that was started with these arguments, folder, variables and files."""
    signal.alarm(asked["seconds"])
    given = os.open(asked["in"], os.O_RDONLY)
    out, err = (
        os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in ("out", "err")
    )
    for own, number in ((given, 0), (out, 1), (err, 2)):
        os.dup2(own, number)
        os.close(own)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["tlx", *asked["arguments"]]
    sys.path[0] = asked["cwd"]


def run() -> NoReturn:
    """Do what ``python -m tlx`` does, and leave without taking apart what was forked."""
    try:
        runpy.run_module("tlx", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)  # type: ignore[arg-type]
    raise AssertionError("a command ends by an exit")


def main() -> None:
    """Fork what is asked for, until there is nothing more."""
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    parse_something()
    gc.freeze()
    for line in requests:
        child = os.fork()
        if not child:
            become(json.loads(line))
            run()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)


if __name__ == "__main__":
    main()
