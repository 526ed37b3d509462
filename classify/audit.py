"""Look through a data set for what is wrong with its images and labels."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from ..arguments import says_nearest_argument
from ..errors import DataError, UnknownNameError
from ..reprs import html_table, listed, shortened
from ..workspace import Workspace, several
from .findings.evidence import Evidence
from .findings.finding import SEVERITIES, Finding
from .findings.registry import kinds
from .runs.best import best_run, load_run
from .runs.run import Run
from .sources import name_of


@dataclass(frozen=True, repr=False)
class Audit:
    """What was found in a data set.

    Attributes
    ----------
    dataset : str
    runs : tuple of Run
        Whose predictions were looked at, the one that is judged first; may be empty.
    findings : tuple of Finding
        The gravest first.
    evidence : Evidence
        What they were made from.
    """

    dataset: str
    runs: tuple[Run, ...]
    findings: tuple[Finding, ...]
    evidence: Evidence

    @property
    def not_looked_for(self) -> list[str]:
        """What could not be looked for, or not wholly, and what changes that; a text each."""
        manifest, texts = self.evidence.manifest, []
        if self.evidence.unlabelled:
            texts.append(
                "No image has a label: only copies, odd images, strangers and series are looked "
                "for. Put images in one folder a class, or list path,label in a CSV"
            )
        elif not self.runs:
            texts.append(
                "No run of this data set yet: labels are judged by the embeddings alone, and what "
                "a run is weak at is not looked for. Run tlx fit-head --model logreg"
            )
        texts += [
            f"Run {run.id} judges no label: its classes are others than the images have now. Run "
            "tlx fit-head again"
            for run in self.evidence.silent
        ]
        if unmeasured := int((manifest.usable & ~manifest.measured).sum()):
            texts.append(
                f"{unmeasured:,} images were embedded before tlx measured what pictures look like, "
                "so odd ones among them are not found, and copies less surely. Run "
                f"{shlex.join(['tlx', 'embed', manifest.root])}"
            )
        if self.approximate:
            texts.append(
                f"Of {len(manifest):,} images not every pair was compared: copies were looked for "
                "among the images most like each. A few may be missing; docs/findings.md says how "
                "many"
            )
        return texts

    @property
    def approximate(self) -> bool:
        """Whether near-duplicates were looked for, and not every pair of images compared."""
        looked = vars(self.evidence).get("duplicates")  # is made when a finding asks for it
        return looked is not None and not looked.pairs.exhaustive

    def __repr__(self) -> str:
        n, grave = len(self.findings), sum(f.severity == "grave" for f in self.findings)
        judges = f", judged by {listed([run.id for run in self.runs])}" if self.runs else ""
        return (
            f"<Audit of {shortened(self.dataset)!r}: {n} finding{'s' * (n != 1)}, {grave} of them "
            f"grave{judges}>"
        )

    def _repr_html_(self) -> str:
        rows = [(f.code, f.name, f.severity, len(f.images), f.title) for f in self.findings]
        return html_table(repr(self), ("code", "name", "severity", "images", "title"), rows)


@says_nearest_argument
def audit_run(
    run: str | Run | Iterable[str | Run] | None = None,
    dataset: str | None = None,
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    only: str | Iterable[str] = (),
) -> Audit:
    """Find what is wrong with the images and labels of a data set, from what is cached.

    No image is opened.

    Parameters
    ----------
    run : str, Run or iterable of these, optional
        Whose out-of-fold probabilities are looked at; by default the best run. Several runs vote.
    dataset : str, optional
        Its name; by default that of the run, or without one the data set embedded last.
    workspace : path, default=".tlx"
    only : str or iterable of str, optional
        Names of the kinds of findings to look for; by default all.

    Returns
    -------
    Audit

    Raises
    ------
    DataError
        If nothing is embedded, or runs are of different data sets.
    UnknownNameError
        If there is no such run, data set or kind of finding.

    Examples
    --------
    >>> import tlx
    >>> tlx.audit_run(only="conflict").findings
    ()
    """
    place = Workspace(workspace)
    wanted = several(only)
    for name in wanted:
        if name not in kinds():
            raise UnknownNameError.nearest("finding", name, kinds())
    evidence = gather_evidence(run, dataset, place).of_one_class()
    found = [
        finding
        for kind in kinds().values()
        if (not wanted or kind.name in wanted)
        and (evidence.runs or not kind.needs_run)
        and not (evidence.unlabelled and kind.needs_labels)
        for finding in kind.find(evidence)
    ]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(evidence.manifest.name, evidence.runs, tuple(found), evidence)


def gather_evidence(
    run: str | Run | Iterable[str | Run] | None, dataset: str | None, workspace: Workspace
) -> Evidence:
    """Return what findings are made from; see `audit_run`."""
    if run is None:
        runs = _best(workspace, dataset)
    else:
        given = [run] if isinstance(run, str | Run) else list(run)
        runs = tuple(r if isinstance(r, Run) else load_run(r, workspace) for r in given)
    names = {one.info.dataset for one in runs} | ({dataset} if dataset else set())
    if len(names) > 1:
        raise DataError(
            f"these are of {len(names)} data sets: {', '.join(sorted(names))}.",
            "Look at one at a time.",
        )
    manifest = workspace.load_manifest(names.pop() if names else None)
    sources = runs[0].info.sources if runs else []
    cached = {source["fingerprint"] for source in manifest.sources}
    # A fine-tuned network has embeddings of its own, which are not cached: others are looked at.
    known = sources and all(source["fingerprint"] in cached for source in sources)
    return Evidence(workspace, manifest, name_of(sources) if known else None, runs)


def _best(workspace: Workspace, dataset: str | None) -> tuple[Run, ...]:
    """Return the best run of the data set that is meant; none if it has none."""
    name = workspace.load_manifest(dataset).name
    try:
        return (best_run(workspace, name),)
    except (DataError, UnknownNameError):
        return ()
