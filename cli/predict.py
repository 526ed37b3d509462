"""``tlx predict``: raw images to labels with probabilities."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError
from .common import DEFAULT_WORKSPACE, EngineOption, JsonOption, WorkspaceOption, emit, note, say
from .render import percent, progress, table

if TYPE_CHECKING:
    from ..classify.predict import Prediction
    from ..classify.scoring.calibrate import Rejection


def predict(
    run: Annotated[str, typer.Argument(help="Id of a run, path of its folder, or 'best'.")],
    paths: Annotated[
        list[str],
        typer.Argument(help="Images, folders of images, or '-' for a list on standard input."),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Write the predictions to this .csv or .json file.")
    ] = None,
    tta: Annotated[
        int,
        typer.Option(
            min=0, help="Test-time augmentation: average over so many augmented views as well."
        ),
    ] = 0,
    reject: Annotated[
        float | None,
        typer.Option(
            metavar="ERROR",
            help="Say 'unknown' where the run is too little sure, so that at most this share "
            "of the other predictions is wrong: 0.01, say.",
        ),
    ] = None,
    engine: EngineOption = "auto",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Predict the class of images with a run.

    An image that cannot be read becomes a row with its reason.
    """
    from ..cache.files import write_atomic
    from ..classify.predict import predict_images, rejection
    from ..classify.runs.store import load_run

    if output is not None and output.suffix.lower() not in (".csv", ".json"):
        raise DataError(f"--output {output} is neither .csv nor .json.", "Name it labels.csv, say.")
    loaded = load_run(run, workspace)
    with progress("Predicting") as show:
        found = predict_images(
            loaded,
            _expand(paths),
            workspace=workspace,
            tta=tta,
            reject=reject,
            engine=engine,
            progress=show,
        )
    result: dict[str, Any] = {"run": loaded.id, "predictions": [asdict(row) for row in found]}
    if reject is not None:
        rejected = rejection(loaded, reject)
        result["reject"] = asdict(rejected)
        note(rejection_text(rejected, found))
    if output is not None:
        as_csv = output.suffix.lower() == ".csv"
        text = to_csv(found, loaded.class_names) if as_csv else json.dumps(result, indent=1)
        write_atomic(output.absolute(), text.encode("utf-8", "surrogateescape"))
        note(f"{len(found)} predictions written to {output}")
    if as_json:
        emit(result)
    elif output is None:
        say(as_text(found))


def as_text(found: list[Prediction]) -> str:
    """Return the predictions as a table."""
    rows = [
        [row.path, row.label or "-", "-" if row.confidence is None else f"{row.confidence:.3f}"]
        for row in found
    ]
    if not any(row.error for row in found):
        return table(["path", "label", "confidence"], rows)
    for cells, row in zip(rows, found, strict=True):
        cells.append(row.error)
    return table(["path", "label", "confidence", "error"], rows)


def rejection_text(chosen: Rejection, found: list[Prediction]) -> str:
    """Return what was rejected, and what is promised of the rest."""
    from ..classify.scoring.calibrate import UNKNOWN

    unknown = sum(row.label == UNKNOWN for row in found)
    return (
        f"{unknown} of {len(found)} predictions are {UNKNOWN!r}: their confidence is below "
        f"{chosen.threshold:.3f}. Of the images that the run\nwas scored on, "
        f"{percent(chosen.coverage)} reach it, and {percent(chosen.observed)} of those are wrong "
        f"(with 95% confidence at most {percent(chosen.bound)})."
    )


def to_csv(found: list[Prediction], class_names: tuple[str, ...]) -> str:
    """Return the predictions as CSV: path, label, confidence, error, and a column a class."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["path", "label", "confidence", "error", *class_names])
    for row in found:
        probabilities = row.probabilities or {}
        writer.writerow(
            [
                row.path,
                row.label or "",
                "" if row.confidence is None else f"{row.confidence:.6f}",
                row.error,
                *(f"{probabilities[c]:.6f}" if probabilities else "" for c in class_names),
            ]
        )
    return buffer.getvalue()


def _expand(paths: list[str]) -> list[str]:
    """Replace ``-`` by the lines of standard input."""
    expanded: list[str] = []
    for path in paths:
        expanded += sys.stdin.read().splitlines() if path == "-" else [path]
    return [path for path in expanded if path]
