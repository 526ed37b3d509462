"""The command ``tlx``: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import functools
import gc
import importlib
import io
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from .._version import __version__
from .common import DEFAULT_WORKSPACE, JsonOption, WarningsOfTheLibrary, WorkspaceOption
from .heads import NamesHeads, TakesHeadOptions
from .shell import Command, Group, run
from .signals import listen

# What a command does, and an example. Its module has its name, and its function there, or `app`.
_COMMANDS = {
    "embed": (
        "Run a frozen network over the images once, and keep the features.",
        "tlx embed photos/ --validation-fraction 0.2",
    ),
    "fit-head": (
        "Fit classifiers on the features, in seconds.",
        "tlx fit-head --model logreg",
    ),
    "compare": ("Rank runs on the same images.", "tlx compare --plot heads.png"),
    "audit": (
        "Find what is wrong with the images and labels.",
        "tlx audit --output findings.csv",
    ),
    "finetune": (
        "Train the top of the network, starting from a head.",
        "tlx finetune --unfreeze 20",
    ),
    "evaluate": (
        "Score a run on images it has never seen.",
        "tlx evaluate best photos/ --split test",
    ),
    "learning-curve": ("Say what more images would bring.", "tlx learning-curve --plot curve.png"),
    "backbones": ("List the pre-trained networks.", "tlx backbones"),
    "predict": (
        "Say which class photos belong to.",
        "tlx predict best holiday/*.jpg --output labels.csv",
    ),
    "relabel": ("Correct labels; no image file is touched.", "tlx relabel corrections.csv"),
    "report": ("Write one page that shows it all.", "tlx report --open"),
    "export": (
        "Take a run elsewhere: Keras, ONNX, OpenVINO, LiteRT.",
        "tlx export best --format onnx",
    ),
    "serve": (
        "Let others predict: a page to drop photos on, and an API.",
        "tlx serve best --reject 0.05",
    ),
    "demo": ("Try it all on handwritten digits.", "tlx demo digits/"),
    "runs": ("List, show and remove runs.", "tlx runs"),
    "cache": ("Look after the cached features.", "tlx cache info"),
}
_KINDS = {"fit-head": TakesHeadOptions, "learning-curve": NamesHeads}


class _Commands(Mapping[str, Any]):
    """The commands by name. One is imported when it is asked for: all of them take 0.1 s."""

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)

    def __getitem__(self, name: str) -> Any:
        return _command(name)


@functools.cache
def _command(name: str) -> Any:
    short, example = _COMMANDS[name]
    own = name.replace("-", "_")
    module = importlib.import_module(f".{own}", __package__)
    if (found := getattr(module, "app", None)) is None:
        found = typer.Typer(add_completion=False, rich_markup_mode=None)
        found.command(cls=_KINDS.get(name, Command))(getattr(module, own))
    command = typer.main.get_command(found)
    command.name, command.short_help, command.epilog = name, short, f"Example: {example}"
    return command


class _Everything(Group):
    """All commands, whose list needs none of them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands: Any = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (short, _) in _COMMANDS.items()])


app = typer.Typer(
    name="tlx",
    cls=_Everything,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Transfer learning on images: embed once, then fit and compare classifiers in seconds.",
    epilog="Start with: tlx demo, or tlx embed DATA",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tlx {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a request to end counts as Ctrl-C."""
    listen()
    # Modules are no garbage, and to look them through takes a tenth of the time of `compare`.
    gc.set_threshold(100_000, 50, 100)
    for stream in (sys.stdout, sys.stderr):  # a path that is no UTF-8 must not end a listing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):  # a list of file names may not be UTF-8 either
        sys.stdin.reconfigure(errors="surrogateescape")
    logging.getLogger("tlx").addHandler(WarningsOfTheLibrary())
    sys.exit(run(app, sys.argv[1:]))
