"""The command ``tlx``: its commands, and the one place where errors become exit codes."""

from __future__ import annotations

import gc
import io
import logging
import sys
from typing import Annotated

import typer

from .._version import __version__
from . import (
    audit,
    backbones,
    cache,
    compare,
    demo,
    embed,
    evaluate,
    export,
    finetune,
    fit_head,
    learning_curve,
    predict,
    relabel,
    report,
    runs,
    serve,
)
from .common import DEFAULT_WORKSPACE, JsonOption, WarningsOfTheLibrary, WorkspaceOption
from .heads import NamesHeads, TakesHeadOptions
from .shell import Command, Group, run
from .signals import listen

app = typer.Typer(
    name="tlx",
    cls=Group,
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


_KINDS = {"fit-head": TakesHeadOptions, "learning-curve": NamesHeads}
for name, function, short, example in (
    (
        "embed",
        embed.embed,
        "Run a frozen network over the images once, and keep the features.",
        "tlx embed photos/ --validation-fraction 0.2",
    ),
    (
        "fit-head",
        fit_head.fit_head,
        "Fit classifiers on the features, in seconds.",
        "tlx fit-head --model logreg",
    ),
    ("compare", compare.compare, "Rank runs on the same images.", "tlx compare --plot heads.png"),
    (
        "audit",
        audit.audit,
        "Find what is wrong with the images and labels.",
        "tlx audit --output findings.csv",
    ),
    (
        "finetune",
        finetune.finetune,
        "Train the top of the network, starting from a head.",
        "tlx finetune --unfreeze 20",
    ),
    (
        "evaluate",
        evaluate.evaluate,
        "Score a run on images it has never seen.",
        "tlx evaluate best photos/ --split test",
    ),
    (
        "learning-curve",
        learning_curve.learning_curve,
        "Say what more images would bring.",
        "tlx learning-curve --plot curve.png",
    ),
    ("backbones", backbones.backbones, "List the pre-trained networks.", "tlx backbones"),
    (
        "predict",
        predict.predict,
        "Say which class photos belong to.",
        "tlx predict best holiday/*.jpg --output labels.csv",
    ),
    (
        "relabel",
        relabel.relabel,
        "Correct labels; no image file is touched.",
        "tlx relabel corrections.csv",
    ),
    (
        "report",
        report.report,
        "Write one page that shows it all.",
        "tlx report --open",
    ),
    (
        "export",
        export.export,
        "Take a run elsewhere: Keras, ONNX, OpenVINO, LiteRT.",
        "tlx export best --format onnx",
    ),
    (
        "serve",
        serve.serve,
        "Let others predict: a page to drop photos on, and an API.",
        "tlx serve best --reject 0.05",
    ),
    ("demo", demo.demo, "Try it all on handwritten digits.", "tlx demo digits/"),
):
    kind = _KINDS.get(name, Command)
    app.command(name, cls=kind, short_help=short, epilog=f"Example: {example}")(function)

runs_app = typer.Typer(
    cls=Group,
    invoke_without_command=True,
    rich_markup_mode=None,
    help="List, show and remove runs.",
)
runs_app.callback(epilog="Example: tlx runs")(runs.list_all)
runs_app.command("rm", cls=Command, epilog="Example: tlx runs rm logreg-1 --dry-run")(runs.remove)
runs_app.command("show", cls=Command, epilog="Example: tlx runs show logreg-1")(runs.show)
app.add_typer(runs_app, name="runs")

cache_app = typer.Typer(
    cls=Group, no_args_is_help=True, rich_markup_mode=None, help="Look after the cached features."
)


@cache_app.callback()
def _cache(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    pass


for function, example in cache.COMMANDS:
    cache_app.command(function.__name__, cls=Command, epilog=f"Example: {example}")(function)
app.add_typer(cache_app, name="cache")


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
