"""``tlx report``: one page that shows what runs are worth and what is wrong with their images."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DEFAULT_WORKSPACE,
    DatasetOption,
    JsonOption,
    SeedOption,
    WorkspaceOption,
    emit,
    note,
    say,
)
from .progress import progress

if TYPE_CHECKING:
    from ..report.write import Report


def report(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Runs to show, the first is judged; by default the best and all that can be "
            "compared with it.",
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    open_: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also write over a file that is no report.")
    ] = False,
    curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve", help="Measure it as well: what twice the images would bring."
        ),
    ] = False,
    dataset: DatasetOption = None,
    seed: SeedOption = 0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Write one page that shows findings, photos, figures and what to do next.

    It holds all it needs, and asks for nothing elsewhere. Ticked in it, labels are corrected by
    tlx relabel.
    """
    from ..report.write import write_report

    with progress("Drawing", counted=False) as show:
        written = write_report(
            runs or None,
            output,
            dataset=dataset,
            workspace=workspace,
            overwrite=overwrite,
            curve=curve,
            seed=seed,
            progress=show,
        )
    for line in not_in_it(written.left_out):
        note(line)
    emit(as_dict(written)) if as_json else say(as_text(written))
    if open_:
        webbrowser.open(written.path.absolute().as_uri())


def not_in_it(left_out: dict[str, str]) -> list[str]:
    """Return why runs are not in the page, a line a reason."""
    runs: dict[str, list[str]] = {}
    for run_id, why in left_out.items():
        runs.setdefault(why, []).append(run_id)
    return [
        f"{'Run' if len(ids) == 1 else 'Runs'} {', '.join(ids)} {'is' if len(ids) == 1 else 'are'} "
        f"not in it: {why}"
        for why, ids in runs.items()
    ]


def as_dict(written: Report) -> dict[str, Any]:
    """Return the JSON object of the command."""
    return {
        "path": str(written.path),
        "bytes": written.bytes,
        "dataset": written.dataset,
        "runs": [run.id for run in written.audit.runs],
        "left_out": [{"run": run, "reason": why} for run, why in written.left_out.items()],
        "findings": len(written.audit.findings),
        "seconds": written.seconds,
    }


def as_text(written: Report) -> str:
    """Return what a person wants to read."""
    n = len(written.audit.findings)
    grave = sum(finding.severity == "grave" for finding in written.audit.findings)
    told = f"{n or 'no'} finding{'' if n == 1 else 's'}{f', {grave} of them grave' * bool(grave)}"
    return (
        f"{written.path}: {told}; {written.bytes / 1e6:.1f} MB, {written.seconds:.1f} s\n"
        "Open it in a browser, or add --open. Ticks in it are saved for tlx relabel."
    )
