"""``tlx evaluate``: a finished run on images that it has never seen."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DEFAULT_WORKSPACE,
    EngineOption,
    JsonOption,
    RunArgument,
    StorageOption,
    TrustOption,
    WorkspaceOption,
    emit,
    in_workspace,
    note,
    quoted,
    say,
)
from .progress import progress
from .render import class_table, confusion_table, metric_rows, percent, table

if TYPE_CHECKING:
    from ..classify.evaluate import Assessment


def evaluate(
    run: RunArgument,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Name of a data set, or a folder, CSV file, archive or URL, which is embedded "
            "first.",
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            help="test, validation, train or all; by default test if the data has it, else all."
        ),
    ] = None,
    engine: EngineOption = "auto",
    trust: TrustOption = None,
    storage: StorageOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Score a finished run on a data set, best on one that it has never seen."""
    from ..classify.evaluate import evaluate_run
    from ..classify.runs.best import load_run

    loaded = load_run(run, workspace, trusted=trust)
    note(f"Using {loaded.describe()}.")
    with progress("Embedding") as show:
        found = evaluate_run(
            loaded, data, split=split, workspace=workspace, engine=engine, progress=show
        )
    for text in (seen_warning(found), shift_text(found), uses_text(found)):
        if text:
            note(text)
    emit(as_dict(found)) if as_json else say(as_text(found))


def as_dict(found: Assessment) -> dict[str, Any]:
    """Return the JSON object of the command."""
    return {
        "run": found.run.id,
        "dataset": found.dataset,
        "split": found.split,
        "n": found.n,
        "classes": found.run.class_names,
        "metrics": {name: asdict(metric) for name, metric in found.metrics.items()},
        "confusion": found.confusion,
        "per_class": [asdict(report) for report in found.per_class],
        "seen_in_training": found.seen,
        "chosen_on": found.chosen_on,
        "near_duplicates": found.near_duplicates,
        "prevalence_shift": _shift_dict(found),
        "test_uses": asdict(found.uses) if found.uses else None,
        "metrics_unseen": {name: asdict(m) for name, m in found.metrics_unseen.items()},
    }


def seen_warning(found: Assessment) -> str:
    """Return what to know of images that the run has seen; "" if there are none."""
    lines = []
    if found.seen:
        text = f"Warning: run {found.run.id} learned from {_of(found.seen, found.n)}"
        lines.append(
            f"{text}. The column 'unseen' leaves them out."
            if found.metrics_unseen
            else f"{text}: these figures say nothing about new images."
        )
    if found.chosen_on:
        text = (
            f"Note: run {found.run.id} was chosen on {_of(found.chosen_on, found.n)}: "
            "the figures are a little too good."
        )
        lines.append(textwrap.fill(text, 80))
    if found.near_duplicates:
        text = (
            f"Note: {_of(found.near_duplicates, found.n)} "
            f"{'is a near-duplicate' if found.near_duplicates == 1 else 'are near-duplicates'} of "
            f"images that run {found.run.id} learned from: the score flatters. tlx audit shows "
            "them if all are of one data set."
        )
        lines.append(textwrap.fill(text, 80, break_on_hyphens=False))
    return "\n".join(lines)


def _shift_dict(found: Assessment) -> dict[str, Any] | None:
    shift = found.shift
    if shift is None:
        return None
    name = found.run.class_names[shift.label]
    return {**asdict(shift), "label": name, "log_loss": found.shifted_loss}


def shift_text(found: Assessment) -> str:
    """Return which class is not as frequent as the run supposes, and what to type; "" if none."""
    from ..classify.evaluate import stated_share

    shift, loss = found.shift, found.metrics["log_loss"].value
    if shift is None or found.shifted_loss is None:
        return ""
    name, run = found.run.class_names[shift.label], found.run.id
    text = (
        f"Note: {percent(shift.share)} of these images are {name!r}, where run {run} supposes "
        f"{percent(shift.learned)}: more than chance."
    )
    if found.shifted_loss >= loss:
        text += " Allowing for that does not lower the log loss: they differ otherwise."
        return textwrap.fill(text, 80)
    stated = quoted(f"{name}={stated_share(shift, found.n):.3g}")
    command = in_workspace(f"tlx predict {quoted(run)} PHOTO.jpg --prior {stated}")
    text += (
        f" Its probabilities are off: log loss {loss:.4f}, and {found.shifted_loss:.4f} if that is "
        "allowed for. On such images:"
    )
    return f"{textwrap.fill(text, 80)}\n{command}"


def uses_text(found: Assessment) -> str:
    """Return what to know of images that were evaluated before; "" if this is the first time."""
    uses = found.uses
    if uses is None:
        return ""
    lines = []
    if uses.runs > 1:
        lines.append(
            f"Note: these test images were evaluated {uses.count} times, by {uses.runs} runs.\n"
            "The best of several figures is too good: choose by validation images or folds\n"
            f"({in_workspace('tlx compare')}), and come here at the end."
        )
    elif uses.count > 1:
        lines.append(
            f"Note: run {found.run.id} was evaluated on these images before, {uses.count} times "
            "with this one.\nThe same run again tells nothing new."
        )
    if not uses.kept:
        lines.append("Note: this evaluation is not counted, as the workspace cannot be written.")
    return "\n".join(lines)


def _of(part: int, n: int) -> str:
    return "these very images" if part == n else f"{part} of these {n} images"


def as_text(found: Assessment) -> str:
    """Return what a person wants to read."""
    accuracy = found.metrics["accuracy"].value
    which = "all images" if found.split == "all" else f"{found.split} split"
    lines = [
        f"run {found.run.id} on {found.dataset!r}, {which}: "
        f"{percent(accuracy)} of {found.n} images right",
        "",
        _metrics(found),
        "",
        class_table(found.per_class),
        "",
        confusion_table(found.confusion.tolist(), found.run.class_names),
    ]
    return "\n".join(lines)


def _metrics(found: Assessment) -> str:
    header = ["metric", "value", "95% interval"]
    rows = metric_rows(found.metrics)
    if found.seen and found.metrics_unseen:
        header += ["unseen", "95% interval"]
        by_name = {row[0]: row[1:] for row in metric_rows(found.metrics_unseen)}
        rows = [[*row, *by_name.get(row[0], ["", ""])] for row in rows]
    return table(header, rows)
