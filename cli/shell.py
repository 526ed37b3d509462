"""What every command and group of commands does alike, before and after its own work.

Options before a subcommand hold for it, and errors become one line and an exit code in one place.
"""

from __future__ import annotations

import errno
import functools
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import StorageError, TlxError
from ..lazy_imports import set_verbose
from .common import DEFAULT_WORKSPACE, INTERRUPTED, MANNERS, fail, in_workspace

UsageError: Any = typer.BadParameter.__mro__[1]
_EMPTY = re.compile(r"(--[a-zA-Z-]+=)?\s*")
_PASSED_ON = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")


@contextmanager
def errors_reported() -> Iterator[None]:
    """Make what a user can cause one line of cause, one of remedy and exit code 1; leave bugs."""
    try:
        yield
    except KeyboardInterrupt:
        fail(INTERRUPTED, "Interrupted.")
    except TlxError as error:
        _trace()
        fail(1, error.cause, in_workspace(error.remedy))
    except MemoryError:
        _trace()
        fail(1, "there is not enough memory.", "Close other programs, or use fewer images.")
    except OSError as error:
        if error.errno == errno.EPIPE or error.filename is None:
            raise
        _trace()
        fail(1, f"{error.filename}: {error.strerror}.", "Check the path and its permissions.")


def _trace() -> None:
    if MANNERS.verbose:
        traceback.print_exc()


def usage_failed(error: Any) -> None:
    """Tell of wrong usage as `errors_reported` tells of the rest, but exit with 2."""
    context = error.ctx
    typed = context.command_path if context is not None else "tlx"
    if type(error).__name__ == "NoArgsIsHelpError":
        if not MANNERS.as_json:
            error.show()
            raise typer.Exit(2)
        fail(2, "Missing command.", f"See: {typed} --help")
    if MANNERS.as_json:
        fail(2, error.format_message(), f"See: {typed} --help")
    error.show()
    raise typer.Exit(2)


def _check_workspace() -> None:
    if MANNERS.workspace.exists() and not MANNERS.workspace.is_dir():
        raise StorageError(
            f"--workspace {MANNERS.workspace} is a file, not a folder.", "Name another folder."
        )


def _be_verbose(wanted: bool) -> None:
    if wanted:
        MANNERS.verbose = True
        set_verbose()


def _be_quiet(wanted: bool) -> None:
    MANNERS.quiet = MANNERS.quiet or wanted


def _flags(
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            expose_value=False,
            callback=_be_verbose,
            help="Show where errors come from, and the logs of TensorFlow and OpenVINO.",
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            expose_value=False,
            callback=_be_quiet,
            help="Print results, warnings and errors, but no progress and no notes.",
        ),
    ] = False,
) -> None:
    pass


@functools.cache
def _shared_options() -> list[Any]:
    """Return -v and -q as Typer makes them of a function's parameters."""
    app = typer.Typer(add_completion=False)
    app.command()(_flags)
    return typer.main.get_command(app).params


class _Shared:
    """Adds -v and -q, and reports errors."""

    params: list[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _shared_options()

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        for arg in args:
            if _EMPTY.fullmatch(arg):
                what = f"{arg[:-1]} is" if arg else "an argument is"
                ctx.fail(f"{what} empty: is a variable of your script not set?")
        return super().parse_args(ctx, args)  # type: ignore[misc]

    def invoke(self, ctx: Any) -> Any:
        MANNERS.workspace = ctx.params.get("workspace") or DEFAULT_WORKSPACE
        MANNERS.dataset = ctx.params.get("dataset")
        with errors_reported():
            _check_workspace()
            return super().invoke(ctx)  # type: ignore[misc]


class Command(_Shared, TyperCommand):
    """A command."""


class Group(_Shared, TyperGroup):
    """A group of commands, whose own options hold for the command that follows."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command with the group's options as its defaults."""
        given = {
            name: value
            for name, value in ctx.params.items()
            if getattr(ctx.get_parameter_source(name), "name", "") in _PASSED_ON
        }
        ctx.default_map = dict.fromkeys(self.commands, given)
        return super().invoke(ctx)


def asked_for_json(arguments: list[str]) -> bool:
    """Return whether --json is among the options, whether or not they can be parsed.

    Examples
    --------
    >>> asked_for_json(["embed", "--json", "photos"]), asked_for_json(["embed", "--", "--json"])
    (True, False)
    """
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def run(app: typer.Typer, arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    MANNERS.__init__(as_json=asked_for_json(arguments))
    try:
        try:
            return app(arguments, prog_name="tlx", standalone_mode=False) or 0
        except UsageError as error:
            usage_failed(error)
        except EOFError:
            fail(1, "the input has ended.")
    except typer.Exit as end:
        return end.exit_code
    sys.stdout.flush()
    return 0
