"""``tlx audit``: what is wrong with the images and labels of a data set."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from dataclasses import asdict
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
    note,
    printable,
    say,
)
from .progress import progress
from .render import spreadsheet_text, table

if TYPE_CHECKING:
    from ..classify.audit import Audit
    from ..classify.findings.finding import Finding

_SHOWN = 5  # images of a finding
_WIDTH = 80


def audit(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Runs whose held-out probabilities judge the labels, several vote; by default "
            "the best.",
        ),
    ] = None,
    dataset: DatasetOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Look for this kind of finding alone, conflict say; repeatable."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write all findings to this .csv file, one row an image."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Find what is wrong with the images and labels, from what is cached: no image is opened.

    docs/findings.md says what each finding means and what to do. Exits with 0 whatever is found.
    """
    from ..cache.files import write_output
    from ..classify.audit import audit_run

    with progress("Looking", counted=False):
        found = audit_run(runs or None, dataset, workspace=workspace, only=only or ())
    for text in found.not_looked_for:
        note(_filled(text))
    if output is not None:
        write_output(output, to_csv(found.findings).encode("utf-8", "surrogateescape"))
    if as_json:
        emit(as_dict(found))
    else:
        say(as_text(found))
        if not found.evidence.unlabelled:
            say(next_command(" ".join(["tlx report", *["{}"] * len(runs or ())]), *(runs or ())))
    if output is not None:
        note(f"findings written to {output}")


def as_dict(found: Audit) -> dict[str, Any]:
    """Return the JSON object of the command."""
    return {
        "dataset": found.dataset,
        "run": found.runs[0].id if found.runs else None,
        "runs": [run.id for run in found.runs],
        "images": len(found.evidence.manifest),
        "not_looked_for": list(found.not_looked_for),
        "near_duplicates_approximate": found.approximate,
        "findings": [_finite(asdict(finding)) for finding in found.findings],
    }


def _finite(value: Any) -> Any:
    """Return `value` with None for each number that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(found: Audit) -> str:
    """Return what a person wants to read: the gravest finding first, and some images of each."""
    n, images = len(found.findings), len(found.evidence.manifest)
    judged = f", judged by {', '.join(run.id for run in found.runs)}" if found.runs else ""
    what = f"{n or 'no'} finding{'' if n == 1 else 's'}"
    head = _filled(f"{what} in {found.dataset!r} ({images:,} images{judged})")
    return "\n".join([head, "", *(f"{finding_text(finding)}\n" for finding in found.findings)])


def finding_text(finding: Finding) -> str:
    """Return a finding: its code, what it is, what to do, and the first of its images."""
    lines = [f"{finding.code} {finding.name} ({finding.severity})"]
    lines += [_filled(text, "  ") for text in (finding.title, finding.advice)]
    if finding.images:
        lines.append(textwrap.indent(_images(finding), "  "))
    if left := len(finding.images) - _SHOWN:
        lines += [f"  … and {left:,} more"] if left > 0 else []
    return "\n".join(lines)


def _images(finding: Finding) -> str:
    columns = {
        "image": [image.path for image in finding.images],
        "label": [image.label for image in finding.images],
        "suggested": [image.suggested or "" for image in finding.images],
        "score": ["" if i.score is None else f"{i.score:.3g}" for i in finding.images],
        "with": [image.other or "" for image in finding.images],
    }
    shown = {name: cells[:_SHOWN] for name, cells in columns.items() if any(cells)}
    return table(list(shown), list(zip(*shown.values(), strict=True)), width=_WIDTH - 2)


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        printable(in_workspace(text)),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def to_csv(findings: tuple[Finding, ...]) -> str:
    """Return the findings as CSV, a row an image; what has no images has one row."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)  # with \r\n at line ends it quotes a name that has either
    writer.writerow(
        ["code", "name", "severity", "path", "label", "suggested", "score", "other", "title"]
    )
    for finding in findings:
        kind = [finding.code, finding.name, finding.severity]
        for image in finding.images or (None,):
            texts = ("path", "label", "suggested", "other")
            cells = {name: spreadsheet_text(getattr(image, name, None) or "") for name in texts}
            score = getattr(image, "score", None)
            cells["score"] = "" if score is None else f"{score:.6g}"
            order = [cells[name] for name in ("path", "label", "suggested", "score", "other")]
            writer.writerow([*kind, *order, spreadsheet_text(finding.title)])
    return buffer.getvalue()
