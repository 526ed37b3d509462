"""The report: one HTML page that shows what runs are worth and what is wrong with their images."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..arguments import says_nearest_argument
from ..cache.files import open_binary, write_output
from ..classify.audit import Audit
from ..classify.curve import LearningCurve
from ..classify.runs.run import Run
from ..classify.table import Features
from ..commands import complete_commands
from ..errors import DataError
from ..progress import Progress, share, silent
from ..reprs import shortened
from ..workspace import Workspace
from . import figures, problems
from .album import Album
from .atlas import Points
from .gather import Material, gather_material
from .growth import gain, growth, measure
from .judged import Judged
from .next_steps import next_steps
from .page import MARK, render
from .thumbnails import thumbnails

_FEW = 1500  # images, up to which all of them find place in the page
_ROOM, _MORE_ROOM = 4_600_000, 11_000_000  # bytes of photos in a page of few images, and of more
_TO_CSV = ("--output", "findings.csv")


@dataclass(frozen=True, repr=False)
class Report:
    """A page that was written.

    Attributes
    ----------
    path : Path
    bytes : int
        Its size.
    dataset : str
    audit : Audit
        What it shows as findings, and of which runs.
    left_out : dict of str to str
        Why runs are not in it, by their ids.
    seconds : float
    """

    path: Path
    bytes: int
    dataset: str
    audit: Audit
    left_out: dict[str, str]
    seconds: float

    def __repr__(self) -> str:
        runs, n = len(self.audit.runs), len(self.audit.findings)
        found = f"{n} finding{'s' * (n != 1)}, {runs} run{'s' * (runs != 1)}"
        return (
            f"<Report {os.fspath(self.path)!r} of {shortened(self.dataset)!r}: {found}, "
            f"{self.bytes / 1e6:.1f} MB>"
        )


@says_nearest_argument
def write_report(
    runs: Run | str | Iterable[Run | str] | None = None,
    output: str | os.PathLike[str] = "report.html",
    *,
    dataset: str | None = None,
    workspace: str | os.PathLike[str] = ".tlx",
    overwrite: bool = False,
    curve: bool = False,
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Write one HTML page about a data set and its runs.

    It holds its photos, asks for nothing elsewhere, and opens from a folder. In it suspect labels
    can be ticked and saved as a file for ``tlx relabel``.

    Parameters
    ----------
    runs : Run, str or iterable of them, optional
        The first is judged, the others are compared with it. By default the best run, and all that
        can be compared with it.
    output : path, default="report.html"
    dataset : str, optional
        Its name; by default that of the runs, or without one the data set embedded last.
    workspace : path, default=".tlx"
    overwrite : bool, default=False
        Also write over a file that is no report.
    curve : bool, default=False
        Measure the learning curve as well, which takes as long as `tlx.learning_curve`.
    seed : int, default=0
        Of the map, and of the draw of its points where there are more than 5,000 images.
    progress : Progress, optional
        Told how much is done.

    Returns
    -------
    Report

    Raises
    ------
    DataError
        If nothing is embedded, no run that was named can be read, or `output` is another file.
    UnknownNameError
        If there is no such run or data set.
    StorageError
        If the page cannot be written.

    Examples
    --------
    >>> import tlx
    >>> fitted = tlx.fit_heads(["logreg", "lda"])
    >>> report = tlx.write_report()
    >>> report.path.name, report.bytes < 1_000_000
    ('report.html', True)
    """
    started = time.perf_counter()
    path = Path(output)
    _check_output(path, overwrite)
    place = Workspace(workspace)
    material = gather_material(runs, dataset, place)
    measured = None
    if curve and material.run:
        measured = measure(material.run, place, share(progress, 0, 1, 2))
        progress = share(progress, 1, 1, 2)
    page = _page(material, measured, seed, progress, started)
    write_output(path, page)
    return Report(
        path,
        len(page),
        material.audit.dataset,
        material.audit,
        material.left_out,
        time.perf_counter() - started,
    )


def _check_output(path: Path, overwrite: bool) -> None:
    """Refuse to write over what is no report."""
    if overwrite or not os.path.lexists(path):
        return
    if path.is_file():
        with open_binary(path) as stream:
            if MARK.encode() in stream.read(4096):
                return
    raise DataError(
        f"{path} is there already, and is no report of tlx.",
        "Choose another --output, or add --overwrite.",
    )


def _page(
    material: Material,
    curve: LearningCurve | str | None,
    seed: int,
    progress: Progress,
    started: float,
) -> bytes:
    audit = material.audit
    table, manifest = audit.evidence.table, audit.evidence.manifest
    judged = Judged(material.run) if material.run else None
    album = Album(manifest, judged.said() if judged else {})
    content = _sections(material, judged, table, album, curve)
    points = Points(table, audit.findings, judged, album, seed)  # they come last, and may lack
    n = len(album.photos)
    files = [(photo.file, photo.digest) for photo in album.photos]
    small = thumbnails(files, _ROOM if n <= _FEW else _MORE_ROOM, lambda done: progress(done, n))
    with ThreadPoolExecutor(1) as beside:  # the map needs one core, decoding the others
        pending = beside.submit(list, small)
        content["atlas"] = points.draw()
        for photo, one in zip(album.photos, pending.result(), strict=False):
            photo.thumbnail = one
    progress(n, n)
    with_photo = sum(photo.thumbnail is not None for photo in album.photos)
    content["photos"] = {"shown": n, "there": with_photo}
    content["seconds"] = time.perf_counter() - started
    data: dict[str, Any] = {
        "dataset": manifest.name,
        "key": f"tlx-corrections:{manifest.root}",
        "photos": [photo.as_list() for photo in album.photos],
    }
    if content["confusion"]:
        data["cells"] = content["confusion"].photos
        data["classes"] = list(content["confusion"].names)
    return render(content, data)


def _sections(
    material: Material,
    judged: Judged | None,
    table: Features,
    album: Album,
    curve: LearningCurve | str | None,
) -> dict[str, Any]:
    """Return what the template shows, but for the map."""
    audit, run, comparison = material.audit, material.run, material.comparison
    findings, root = audit.findings, audit.evidence.manifest.root
    made = figures.commands(run, audit.evidence.manifest, table.sources)
    suspects = [
        problems.with_neighbours(problem, table, album)
        for problem in problems.whole(findings, "suspects", album)
    ]
    with_workspace = _commands_for(audit.evidence.workspace, audit.dataset)
    content: dict[str, Any] = {
        "dataset": audit.dataset,
        "root": root,
        "n": len(table),
        "class_names": table.class_names,
        "run": run,
        "runs": audit.runs,
        "left_out": material.left_out,
        # By the same runs: others may find others.
        "list_all": shlex.join(["tlx", "audit", *(r.id for r in audit.runs), *_TO_CSV]),
        "not_looked_for": audit.not_looked_for,
        "all_measured": bool(audit.evidence.measured.all()),
        "findings": [problems.preview(finding, album) for finding in findings],
        "severities": [
            (name, sum(f.severity == name for f in findings))
            for name in ("grave", "warning", "note")
        ],
        "suspects": suspects,
        "duplicates": problems.whole(findings, "duplicates", album),
        "odd": problems.whole(findings, "odd", album),
        "comparison": comparison,
        "corrected": _corrected(material),
        "heads": figures.heads(comparison) if comparison else [],
        "verdict": figures.verdict(comparison, judged) if comparison and judged else "",
        "wrong": figures.mistakes(judged, album) if judged else [],
        "mistakes": len(judged.wrong) if judged else 0,
        "confusion": figures.confusion(judged, album) if judged else None,
        "classes": figures.classes(run) if run else [],
        "calibration": figures.calibration(judged) if judged else None,
        "finetunings": figures.finetunings(audit.runs),
        "growth": growth(curve) if isinstance(curve, LearningCurve) else None,
        "no_growth": curve if isinstance(curve, str) else "",
        "steps": next_steps(
            judged,
            findings,
            audit.runs,
            made[0] if made else "tlx embed DATA",
            gain(curve) if isinstance(curve, LearningCurve) else "",
        ),
        "provenance": figures.provenance(run, audit.evidence.decided) if run else [],
        "made_by": made,
        "command": with_workspace,
    }
    return content


def _corrected(material: Material) -> str:
    """Return the best run's accuracy without what choosing it among several adds."""
    found = material.comparison
    if found is None or len(found.rows) < 2:
        return ""
    value = found.best_corrected
    return f"{found.best.id}: {value.value:.1%} ({value.low:.1%} to {value.high:.1%})"


def _commands_for(workspace: Workspace, dataset: str) -> Callable[[str], str]:
    """Return what makes commands those for this workspace, and for a data set but the latest."""
    place = "" if workspace.root == Path(".tlx") else os.fspath(workspace.root)
    named = "" if dataset == workspace.dataset_names()[-1] else dataset
    return partial(complete_commands, workspace=place, dataset=named)
