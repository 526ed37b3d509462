"""The command ``tlx``: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import io
import signal
import sys
from typing import Annotated

import typer

from .._version import __version__
from . import (
    backbones,
    cache,
    compare,
    demo,
    embed,
    evaluate,
    finetune,
    fit_head,
    learning_curve,
    predict,
    runs,
)
from .common import reports_errors

app = typer.Typer(
    name="tlx",
    no_args_is_help=True,
    add_completion=False,
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
) -> None:
    pass


for name, function, example in (
    ("embed", embed.embed, "tlx embed photos/ --validation-fraction 0.2"),
    ("fit-head", fit_head.fit_head, "tlx fit-head --model logreg"),
    ("compare", compare.compare, "tlx compare --plot heads.png"),
    ("finetune", finetune.finetune, "tlx finetune --unfreeze 20"),
    ("evaluate", evaluate.evaluate, "tlx evaluate best photos/ --split test"),
    ("learning-curve", learning_curve.learning_curve, "tlx learning-curve --plot curve.png"),
    ("backbones", backbones.backbones, "tlx backbones"),
    ("predict", predict.predict, "tlx predict best holiday/*.jpg --output labels.csv"),
    ("demo", demo.demo, "tlx demo digits/"),
):
    app.command(name, epilog=f"Example: {example}")(reports_errors(function))

runs_app = typer.Typer(
    invoke_without_command=True, rich_markup_mode=None, help="List the runs of the workspace."
)
runs_app.callback(epilog="Example: tlx runs")(reports_errors(runs.list_all))
runs_app.command("rm", epilog="Example: tlx runs rm logreg-1 --dry-run")(
    reports_errors(runs.remove)
)
runs_app.command("show", epilog="Example: tlx runs show logreg-1")(reports_errors(runs.show))
app.add_typer(runs_app, name="runs")

cache_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look after the cached features."
)
for function, example in cache.COMMANDS:
    cache_app.command(function.__name__, epilog=f"Example: {example}")(reports_errors(function))
app.add_typer(cache_app, name="cache")


def main() -> None:
    """Run the command line; a polite request to end counts as Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    for stream in (sys.stdout, sys.stderr):  # a path that is no UTF-8 must not end a listing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):  # a list of file names may not be UTF-8 either
        sys.stdin.reconfigure(errors="surrogateescape")
    app(prog_name="tlx")  # also for python -m tlx
