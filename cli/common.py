"""What all commands share: their common options, and how they speak."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TextIO

import typer

from ..commands import complete_commands
from .signals import INTERRUPTED

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
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="What runs the network: openvino, tensorflow, or auto, the fastest that works.",
        callback=lambda name: known_engine(name),
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Who shares the work: processes:N on this machine, dask://HOST:PORT or ray://HOST:PORT.",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of every random choice.")
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Id of a run, path of its folder, or 'best': of the runs that learned from all "
        "training images of the data set, the one with the lowest log loss.",
    ),
]
StorageOption = Annotated[
    Path | None,
    typer.Option(
        "--storage-options",
        metavar="FILE",
        help='JSON file of what fsspec takes for s3://, gs:// or az://, as {"anon": true}. It is '
        "not kept: the next command is to be told again. Credentials are better in the "
        "environment.",
        callback=lambda context, path: use_storage_options(context, path),
    ),
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="TYPE",
        help="A type that a saved scikit-learn classifier is made of; give one for each that the "
        "error names. To read it runs their code: only if you trust whom you have the run from.",
    ),
]
DEFAULT_WORKSPACE = Path(".tlx")


@dataclass
class Manners:
    """How this call of the command is to speak.

    Attributes
    ----------
    as_json : bool
        Errors are JSON objects on stdout.
    verbose : bool
        Errors show where they came from, and TensorFlow and OpenVINO may chatter.
    quiet : bool
        Neither notes nor progress: only results and errors.
    workspace : Path
        That of the command, for what it advises.
    dataset : str or None
        The same; None if the command was not told one.
    """

    as_json: bool = False
    verbose: bool = False
    quiet: bool = False
    workspace: Path = DEFAULT_WORKSPACE
    dataset: str | None = None


MANNERS = Manners()


def known_engine(name: str) -> str:
    """Return the name of an engine, or end with a usage error before any work is done."""
    if name != "auto":  # the registry imports NumPy
        from ..embed.engines.registry import engine_kinds

        if name not in engine_kinds():
            known = ", ".join(repr(kind) for kind in ("auto", *engine_kinds()))
            raise typer.BadParameter(f"{name!r} is not one of {known}.")
    return name


def use_storage_options(context: typer.Context, path: Path | None) -> Path | None:
    """Read object storage by the options in a file until the command ends."""
    if path is not None and not context.resilient_parsing:
        from ..embed.remote import storage_options

        context.with_resource(storage_options(path))
    return path


@contextmanager
def resumable() -> Iterator[None]:
    """Let Ctrl-C end work that the same command takes up again."""
    try:
        yield
    except KeyboardInterrupt:
        fail(
            INTERRUPTED,
            "Interrupted.",
            "All finished work is kept: run the same command again to go on.",
        )


def fail(code: int, cause: str, remedy: str = "") -> NoReturn:
    """End the command with an exit code; say why, as a JSON object if that was asked for."""
    cause, remedy = printable(cause), printable(remedy)
    if MANNERS.as_json:
        emit({"error": {"cause": cause, "remedy": remedy}})
    else:
        parts = [cause, remedy] if remedy else [cause]
        text = (" " if code == INTERRUPTED else "\n").join(parts)
        shown = text if code == INTERRUPTED else f"{painted('Error:', 'red', sys.stderr)} {text}"
        _write(sys.stderr, on_screen(shown, sys.stderr))
    raise typer.Exit(code)


class WarningsOfTheLibrary(logging.Handler):
    """Prints what the library warns of, with commands for the workspace of this one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one warning."""
        _write(sys.stderr, on_screen(printable(in_workspace(record.getMessage())), sys.stderr))


def emit(result: Any) -> None:
    """Print one JSON object on stdout."""
    _write(sys.stdout, json.dumps(result, allow_nan=False, default=_plain))


def note(text: str) -> None:
    """Say something on stderr, unless all is to be quiet."""
    if not MANNERS.quiet:
        _write(sys.stderr, on_screen(text, sys.stderr))


def say(text: str = "") -> None:
    """Print a line of the result on stdout."""
    _write(sys.stdout, text)


def next_command(command: str, *paths: object) -> str:
    """Return the line that says what to type next, for the workspace of this command.

    Parameters
    ----------
    command : str
        Such as ``"tlx predict {} PHOTO.jpg"``.
    *paths
        What goes into the braces, quoted as a shell wants it.

    Examples
    --------
    >>> next_command("tlx cache merge {}", "old laptop/.tlx")
    "Next: tlx cache merge 'old laptop/.tlx'"
    """
    return f"Next: {in_workspace(command.format(*map(quoted, paths)))}"


def in_workspace(text: str) -> str:
    """Return text whose commands are for the workspace and data set of this command.

    Examples
    --------
    >>> in_workspace("Run tlx embed DATA first.")
    'Run tlx embed DATA first.'
    """
    other = MANNERS.workspace != DEFAULT_WORKSPACE
    place = str(MANNERS.workspace) if other else ""
    return complete_commands(text, place, MANNERS.dataset or "")


def quoted(path: object) -> str:
    """Return `path` as one would type it in a shell."""
    return shlex.quote(str(path))


def printable(text: str) -> str:
    r"""Return `text` with what does not print escaped, but for line ends: names may be hostile.

    Examples
    --------
    >>> printable("photos/\x1b[2J.jpg")
    'photos/\\x1b[2J.jpg'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def painted(text: str, colour: Literal["red", "green"], stream: TextIO) -> str:
    """Return `text` in a colour if `stream` is a terminal that may have some (see no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    code = {"red": 31, "green": 32}[colour]
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"


def on_screen(text: str, stream: TextIO | None) -> str:
    """Break sentences that are wider than the terminal between words; elsewhere they are as told.

    What to type next and tables are left as they are.
    """
    if stream is None or not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(
        line
        if len(line) <= width or line.startswith("Next: ") or "  " in line
        else textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:  # pythonw and some services have none
        stream.write(text + "\n")


def _plain(value: Any) -> Any:
    """Turn NumPy scalars, arrays and paths into what JSON has."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
