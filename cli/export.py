"""``tlx export``: a run as one network in another format, proven to say the same."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DEFAULT_WORKSPACE,
    JsonOption,
    RunArgument,
    WorkspaceOption,
    emit,
    next_command,
    say,
)
from .progress import progress

if TYPE_CHECKING:
    from ..deploy.export import Export


def export(
    run: RunArgument,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="What to write: keras, savedmodel, onnx, openvino, litert or web.",
        ),
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="The folder to write, RUN-FORMAT by default; or the network's file, such as "
            "cats.onnx, with predictor.json beside it.",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Of the weights: float32, or for openvino and litert float16 and int8, which are "
            "judged by what they cost of the accuracy.",
        ),
    ] = "float32",
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss", help="Keep it even if more than a point of accuracy is lost."
        ),
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Compare on the photos in this folder, not on those of the data set.",
        ),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="For web: an unpacked onnxruntime-web package to copy, so that the page needs "
            "nothing from elsewhere.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take the place of an export that is there.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Write a run as one network: a photo's pixels in, its probabilities out.

    The written file is opened by itself and compared with the run on real photos; what does not say
    the same is not kept.
    """
    from ..deploy.export import export_run

    with progress("Exporting", counted=False) as show:
        done = export_run(
            run,
            format_,
            output,
            workspace=workspace,
            precision=precision,
            accept_loss=accept_loss,
            check=check,
            runtime=runtime,
            overwrite=force,
            progress=show,
        )
    emit(as_dict(done)) if as_json else say(as_text(done))


def as_dict(done: Export) -> dict[str, Any]:
    """Return the JSON object of the command."""
    return {
        "run": done.predictor.run,
        "format": done.predictor.format,
        "precision": done.predictor.precision,
        "path": str(done.path),
        "bytes": done.bytes,
        "predictor": str(done.predictor_path),
        "parity": done.parity.as_dict(),
    }


def as_text(done: Export) -> str:
    """Return what a person wants to read."""
    from ..deploy.formats.registry import get_format

    lines = [
        f"{done.path}: {done.bytes / 1e6:.1f} MB, with {done.predictor_path.name}",
        textwrap.fill(compared_text(done), 80),
    ]
    kind = get_format(done.predictor.format)
    if kind.predicts:
        lines.append(next_command("tlx predict {} PHOTO.jpg", done.path))
    if kind.next_step:
        lines.append(next_command(kind.next_step, done.predictor_path.parent))
    return "\n".join(lines)


def compared_text(done: Export) -> str:
    """Return what the comparison of the file with its run gave."""
    parity, run = done.parity, done.predictor.run
    if parity.accuracy is None:
        return (
            f"Compared with run {run} on {parity.images} images, photo to probabilities: every "
            f"label equal, no probability differs by more than {parity.largest_difference:.1e}."
        )
    value, low, high = (100 * parity.accuracy[key] for key in ("value", "low", "high"))
    return (
        f"In {done.predictor.precision} its accuracy on the {parity.images} images that run {run} "
        f"was scored on changes by {value:+.1f} points ({low:+.1f} to {high:+.1f}); a probability "
        f"differs by up to {parity.largest_difference:.1e}."
    )
