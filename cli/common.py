"""What all commands share: their common options, and how they speak."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..errors import TlxError

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", metavar="DIR", help="Folder of everything tlx keeps.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, all else on stderr.")
]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", help="Name of the data set; by default the one embedded last."),
]
EngineOption = Annotated[
    Literal["auto", "openvino", "tensorflow"],
    typer.Option("--engine", help="What runs the network; auto takes the fastest that works."),
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of every random choice.")]
DEFAULT_WORKSPACE = Path(".tlx")


def reports_errors(function: Callable[..., None]) -> Callable[..., None]:
    """Make a known error one line of cause, one of remedy and exit code 1; leave bugs alone."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            note("Interrupted.")
            raise typer.Exit(130) from None
        except TlxError as error:
            note(f"Error: {error}")
            raise typer.Exit(1) from None

    return wrapper


@contextmanager
def resumable() -> Iterator[None]:
    """Let Ctrl-C end work that the same command takes up again."""
    try:
        yield
    except KeyboardInterrupt:
        note("Interrupted. All finished work is kept: run the same command again to go on.")
        raise typer.Exit(130) from None


def emit(result: Any) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(result, allow_nan=False, default=_plain) + "\n")


def note(text: str) -> None:
    """Say something on stderr."""
    sys.stderr.write(text + "\n")


def say(text: str = "") -> None:
    """Print a line of the result on stdout."""
    sys.stdout.write(text + "\n")


def quoted(path: object) -> str:
    """Return `path` as one would type it in a shell."""
    import shlex

    return shlex.quote(str(path))


def _plain(value: Any) -> Any:
    """Turn NumPy scalars, arrays and paths into what JSON has."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
