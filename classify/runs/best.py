"""The one ranking of runs, which ``"best"`` stands for in every command, and how a run is named.

The best run is, among the runs of a data set that learned from all its training images, the one
with the lowest log loss on the images that are scored. So a few-shot run, or one from before images
were added, is never the best while there is a full one. A fine-tuned network takes part only if it
was better than its head beyond chance, not because somebody asked to keep it. Where the data set
has a validation split, all are scored on that. Where it has none, a fine-tuning held some images
out by itself, and its network takes the place of the very run that it started from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ...arguments import says_nearest_argument
from ...cache.groups import group_images
from ...errors import DataError, FormatError, StorageError, TlxError, UnknownNameError
from ...workspace import Workspace
from ..folds import divide_by_split
from ..heads.saved_estimator import confirmed
from .predictions import scored_id, trained_id
from .run import Run, read_run
from .store import by_age, is_run, list_runs, warn_of_damage

OnDamage = Callable[[str, TlxError], None]


@says_nearest_argument
def load_run(
    run_id: str,
    workspace: str | os.PathLike[str] = ".tlx",
    *,
    trusted: Iterable[str] | None = None,
) -> Run:
    """Open a run by its id, by the path of its folder, or ``"best"``.

    Every part is checked against its SHA-256.

    Parameters
    ----------
    run_id : str
    workspace : path, default=".tlx"
    trusted : iterable of str, optional
        Only for a classifier of scikit-learn's kind that was saved: the types that it is made of.
        To read it runs their code, so confirm them only if you trust them and whom you have the run
        from. Without this the run opens, but does not predict; its error names the types. Such a
        run is never the best.

    Raises
    ------
    UnknownNameError
        If there is no such run.
    FormatError
        If a part is missing or does not have its SHA-256.

    Examples
    --------
    >>> import tlx
    >>> tlx.fit_head("lda").id
    'lda-1'
    >>> tlx.load_run("best").id
    'lda-1'
    """
    workspace, types = Workspace(workspace), confirmed(trusted)
    if run_id == "best":
        return best_run(workspace)
    for folder in (workspace.runs / run_id if os.sep not in run_id else None, Path(run_id)):
        if folder is not None and is_run(folder, workspace):
            return read_run(folder, parts=True, trusted=types)
    known = [run.id for run in list_runs(workspace)]
    raise UnknownNameError.nearest("run", run_id, [*known, "best"] if known else [])


def best_run(
    workspace: Workspace,
    dataset: str | None = None,
    accept: Callable[[Run], bool] | None = None,
    on_damage: OnDamage | None = None,
) -> Run:
    """Return the best run of a data set that can be opened whole.

    Parameters
    ----------
    workspace : Workspace
    dataset : str, optional
        See `runs_of`.
    accept : callable, optional
        Which runs come into question; by default all.
    on_damage : callable, optional
        See `tlx.classify.runs.store.list_runs`.

    Raises
    ------
    DataError
        If no run comes into question.
    UnknownNameError
        If the data set named has no runs.
    """
    on_damage = on_damage or warn_of_damage
    runs = [run for run in runs_of(workspace, dataset, on_damage) if _opens(run)]
    runs = [run for run in runs if not accept or accept(run)]
    while runs:
        ranked = _rank(workspace, runs, on_damage)
        for run in ranked:
            try:
                return read_run(run.folder, parts=True)
            except (FormatError, StorageError) as error:
                on_damage(run.id, error)
        gone = {run.id for run in ranked}
        runs = [run for run in runs if run.id not in gone] if ranked else []
    raise DataError(
        f"no run in {workspace.root.absolute()} can be used for this.",
        "Run tlx fit-head --model logreg first.",
    )


def runs_of(
    workspace: Workspace, dataset: str | None = None, on_damage: OnDamage | None = None
) -> list[Run]:
    """Return the runs of a data set, the oldest first.

    By default it is the data set embedded last, or if that has no runs the newest run's.

    Raises
    ------
    DataError
        If there are no runs at all.
    UnknownNameError
        If the data set named has none.
    """
    found = list_runs(workspace, on_damage)
    if not found:
        raise DataError(
            f"there are no runs in {workspace.root.absolute()} yet.", "Run tlx fit-head first."
        )
    known = {run.info.dataset for run in found}
    if dataset is not None and dataset not in known:
        raise UnknownNameError.nearest("data set with runs", dataset, known)
    if dataset is None:
        names = workspace.dataset_names()
        latest = names[-1] if names else ""
        dataset = latest if latest in known else found[-1].info.dataset
    return [run for run in found if run.info.dataset == dataset]


def _rank(workspace: Workspace, runs: list[Run], on_damage: OnDamage) -> list[Run]:
    """Return those of a data set's runs that can be the best, the best first."""
    basis: dict[str, tuple[str, str, tuple[str, ...]]] = {}
    for run in runs:
        try:
            basis[run.id] = (run.trained_id, run.scored_id, run.class_names)
        except (FormatError, StorageError) as error:  # a run of before, whose predictions are read
            on_damage(run.id, error)
    readable = [run for run in runs if run.id in basis]
    if not readable:
        return []
    wanted = _all_images(workspace, readable[-1].info.dataset)
    if wanted not in basis.values():  # images came or went since: as many as the newest run had
        whole = [run for run in readable if not (run.info.recipe and run.info.recipe.few_shot)]
        wanted = basis[(whole or readable)[-1].id]
    alike = [run for run in readable if basis[run.id] == wanted]
    newest_first = sorted((run for run in alike if _competes(run)), key=by_age, reverse=True)
    ranked = sorted(newest_first, key=lambda run: run.metrics["log_loss"].value)  # keeps ties so
    return _with_networks(ranked, readable) or alike


def _opens(run: Run) -> bool:
    """Return whether a run predicts without asking: a classifier of somebody else's does not."""
    return run.can_predict and run.info.estimator is None


def stands_for_itself(run: Run) -> bool:
    """Return whether a run stands for itself: a fine-tuning that kept its head does not."""
    return run.info.finetune is None or run.info.finetune.kept == "finetuned"


def _competes(run: Run) -> bool:
    """Return whether a run can be the best: of fine-tuned networks those better than the head."""
    return run.info.finetune is None or run.info.finetune.better


def _with_networks(ranked: list[Run], runs: list[Run]) -> list[Run]:
    """Put networks that beat the best run on images they held out themselves before it."""
    if not ranked:
        return []
    heirs = [
        run
        for run in runs
        if run not in ranked
        and run.info.finetune is not None
        and run.info.finetune.better
        and run.info.finetune.seed_run == ranked[0].id
        and run.class_names == ranked[0].class_names
        and by_age(run) > by_age(ranked[0])
    ]
    return [*sorted(heirs, key=by_age, reverse=True), *ranked]


def _all_images(workspace: Workspace, dataset: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Return what a run has that learned from all training images as the data set is now."""
    try:
        manifest = workspace.load_manifest(dataset)
    except (DataError, FormatError, StorageError, UnknownNameError):
        return None
    used = np.array([split in ("train", "validation", "") for split in manifest.split], bool)
    part = manifest.subset(np.flatnonzero(manifest.usable & (manifest.label >= 0) & used))
    if not len(part):
        return None
    present, y = np.unique(part.label, return_inverse=True)
    split = np.array(part.split)
    groups = group_images(part) if (split == "validation").any() else np.arange(len(part))
    train, held_out = divide_by_split(split, groups)
    names = tuple(part.class_names[label] for label in present)
    return trained_id(part.digest[train]), scored_id(part.digest[held_out], y[held_out]), names
