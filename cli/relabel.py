"""``tlx relabel``: correct labels without touching an image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DEFAULT_WORKSPACE,
    DatasetOption,
    JsonOption,
    WorkspaceOption,
    emit,
    in_workspace,
    next_command,
    say,
)
from .render import table

if TYPE_CHECKING:
    from ..relabel import Relabelling

_SHOWN = 40  # lines of a table


def relabel(
    corrections: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CORRECTIONS]",
            help="CSV file that the page of tlx report saved, or with the columns path,label, "
            "where an empty label leaves the image out. Without it the corrections that are there "
            "already are shown.",
        ),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it; otherwise it is only shown what would change.")
    ] = False,
    undo: Annotated[
        bool,
        typer.Option(
            "--undo", help="Take all corrections of the data set away, and keep them in a CSV file."
        ),
    ] = False,
    new_class: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A label that no image has yet; may be given several times."
        ),
    ] = None,
    dataset: DatasetOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Correct labels, or leave images out, without touching an image file.

    Corrections are kept in the workspace, and later runs of tlx embed find them again.
    """
    from ..relabel import list_corrections, relabel_images, undo_corrections
    from ..workspace import Workspace

    if undo and (corrections is not None or apply or new_class):
        raise typer.BadParameter("takes no file and no other option.", param_hint="--undo")
    if corrections is None and (apply or new_class):
        raise typer.BadParameter("no file of corrections is named.", param_hint="CORRECTIONS")
    if undo:
        done = undo_corrections(Workspace(workspace), dataset)
        text = undo_text(done, dataset)
    elif corrections is None:
        done = list_corrections(Workspace(workspace), dataset)
        text = list_text(done)
    else:
        done = relabel_images(
            corrections, dataset, apply=apply, new_classes=new_class or (), workspace=workspace
        )
        text = change_text(done)
        if not apply and (done.changed or done.kept):
            text += "\n" + _again(corrections, new_class or (), dataset)
    emit(as_dict(done)) if as_json else say(text)


def _again(corrections: Path, new_classes: Iterable[str], dataset: str | None) -> str:
    """Return the line that says how to apply a file."""
    options = [("--new-class", name) for name in new_classes]
    options += [("--dataset", dataset)] if dataset else []
    words = "".join(f" {option} {{}}" for option, _ in options)
    command = "tlx relabel {} --apply" + words
    return next_command(command, corrections, *(value for _, value in options))


def as_dict(done: Relabelling) -> dict[str, Any]:
    """Return the JSON object of the command."""
    return {
        "dataset": done.dataset,
        "changed": [{"path": c.path, "from": c.before, "to": c.after} for c in done.changed],
        "kept": done.kept,
        "same": done.same,
        "applied": done.applied,
        "not_in_effect": [{"path": path, "reason": why} for path, why in done.stale.items()],
        "backup": None if done.backup is None else str(done.backup),
    }


def change_text(done: Relabelling) -> str:
    """Return what a file of corrections changes, or would."""
    if not done.changed and not done.kept:
        return f"Nothing to do: data set {done.dataset!r} has all {done.same} corrections already."
    left_out = sum(change.after is None for change in done.changed)
    labels = len(done.changed) - left_out
    parts = [
        f"{_number(labels, 'label')} {'changed' if done.applied else 'would change'}"
        * bool(labels),
        f"{_number(left_out, 'image')} {'' if done.applied else 'would be '}left out"
        * bool(left_out),
        f"{_number(len(done.kept), 'label')} kept as right" * bool(done.kept),
        f"{done.same} already so" * bool(done.same),
    ]
    lines = [f"{done.dataset!r}: {', '.join(filter(None, parts))}", *_table(done)]
    if done.applied:
        lines += [
            "No image file was touched. Runs that were fitted before keep their labels.",
            next_command("tlx fit-head"),
        ]
    else:
        lines.append("Nothing is changed yet.")
    return "\n".join(lines)


def list_text(done: Relabelling) -> str:
    """Return the corrections that a data set has."""
    if not done.changed and not done.kept and not done.stale:
        return f"Data set {done.dataset!r} has no corrections of labels."
    kept = f", {_number(len(done.kept), 'label')} kept as right" if done.kept else ""
    n = _number(len(done.changed), "correction")
    lines = [f"{done.dataset!r}: {n} in effect{kept}", *_table(done)]
    if done.stale:
        rows = [[path, why] for path, why in list(done.stale.items())[:_SHOWN]]
        lines += [table(["not in effect", "because"], rows), *_more(done.stale), ""]
    return "\n".join([*lines, in_workspace("tlx relabel --undo takes them all away.")])


def undo_text(done: Relabelling, dataset: str | None = None) -> str:
    """Return what was taken away and where it is kept."""
    assert done.backup is not None, "there is a file of what was taken away"
    if done.backup.suffix == ".bad":
        return f"The corrections of {done.dataset!r} were damaged; the file is {done.backup} now."
    lines = [f"{done.dataset!r}: labels are those of the folders again", *_table(done)]
    again = _again(done.backup, done.new_classes, dataset).removeprefix("Next: ")
    return "\n".join([*lines, f"To have the corrections back: {again}"])


def _table(done: Relabelling) -> list[str]:
    if not done.changed:
        return [""]
    absent = ("left out", "no label") if done.backup else ("no label", "left out")
    rows = [[c.path, c.before or absent[0], c.after or absent[1]] for c in done.changed[:_SHOWN]]
    return ["", table(["path", "from", "to"], rows), *_more(done.changed), ""]


def _more(items: Any) -> list[str]:
    more = len(items) - _SHOWN
    return [f"… and {more} more (--json lists them all)"] if more > 0 else []


def _number(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
