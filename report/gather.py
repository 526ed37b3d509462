"""What a report is made of: runs that can be compared, and what is wrong with their images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..classify.audit import Audit, audit_run
from ..classify.compare import Comparison, compare_heads
from ..classify.runs.best import best_run, load_run, runs_of
from ..classify.runs.run import Run
from ..classify.runs.scored import Scored
from ..errors import DataError, FormatError, StorageError, TlxError, UnknownNameError
from ..workspace import Workspace


@dataclass(frozen=True)
class Material:
    """What a report tells of.

    Attributes
    ----------
    audit : Audit
        The run that is judged is the first of its runs; there may be none.
    comparison : Comparison or None
        None if there is no run.
    left_out : dict of str to str
        Why runs are not in it, by their ids; those that are damaged too.
    """

    audit: Audit
    comparison: Comparison | None
    left_out: dict[str, str]

    @property
    def run(self) -> Run | None:
        """The run that is judged."""
        return self.audit.runs[0] if self.audit.runs else None


def gather_material(
    runs: Run | str | Iterable[Run | str] | None, dataset: str | None, workspace: Workspace
) -> Material:
    """Return what a report tells of; see `tlx.write_report`.

    Raises
    ------
    DataError
        If nothing is embedded, or no run that was named can be read.
    UnknownNameError
        If there is no such run or data set.
    """
    left_out: dict[str, str] = {}

    def damaged(run_id: str, error: TlxError) -> None:
        left_out[run_id] = f"damaged: {error.cause}"

    if runs is None:
        candidates = _best_first(workspace, dataset, damaged)
    else:
        given = [runs] if isinstance(runs, Run | str) else list(runs)
        candidates = _named(given, workspace, damaged)
        if given and not candidates:
            raise DataError(
                f"{_listed(left_out)} cannot be read: {next(iter(left_out.values()))}",
                "Fit it again: tlx fit-head. Without a name the report is about the best run.",
            )
    chosen = _alike(candidates, left_out, damaged)
    if dataset is None and not chosen:
        dataset = workspace.load_manifest(None).name
    comparison = None
    if chosen:
        comparison = compare_heads(chosen, workspace=workspace)
        for out in comparison.left_out:
            if out.run.id != chosen[0].id:
                left_out.setdefault(out.run.id, out.reason)
    judges = [run for run in chosen if run.id not in left_out]  # a copy has no second vote
    audit = audit_run(judges, dataset if not judges else None, workspace=workspace)
    return Material(audit, comparison, left_out)


def _best_first(
    workspace: Workspace, dataset: str | None, damaged: Callable[[str, TlxError], None]
) -> list[Run]:
    """Return the runs of a data set, the best first; none if it has none that can be read."""
    name = workspace.load_manifest(dataset).name
    try:
        best = best_run(workspace, name, on_damage=damaged)
        others = runs_of(workspace, name, damaged)
    except (DataError, UnknownNameError):
        return []
    return [best, *(run for run in others if run.id != best.id)]


def _named(
    given: Iterable[Run | str], workspace: Workspace, damaged: Callable[[str, TlxError], None]
) -> list[Run]:
    found: dict[Path, Run] = {}
    for one in given:
        try:
            run = load_run(one, workspace) if isinstance(one, str) else one
        except (FormatError, StorageError) as error:
            damaged(str(one), error)
        else:
            found.setdefault(run.folder.resolve(), run)
    return list(found.values())


def _alike(
    candidates: list[Run],
    left_out: dict[str, str],
    damaged: Callable[[str, TlxError], None],
) -> list[Run]:
    """Return the first run that can be read, and those that can be compared with it."""
    chosen: list[Run] = []
    reference: Scored | None = None
    for run in candidates:
        if run.id in left_out:
            continue
        try:
            scored = Scored(run)
        except (FormatError, StorageError) as error:
            damaged(run.id, error)
            continue
        if reference is None:
            reference = scored
            chosen.append(run)
        elif why := scored.objection(reference):
            left_out[run.id] = why
        else:
            chosen.append(run)
    return chosen


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
