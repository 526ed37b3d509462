"""Runs: what a fit leaves behind, in a folder of plain files that can be checked and shared.

``run.json`` tells everything a person asks for and lists the SHA-256 of every other file; the head
is ``head.h5`` (its arrays; in runs of before ``head.skops``, of nearest neighbours) or the
``head.skops`` of a classifier of scikit-learn's kind; ``predictions.h5`` holds the probabilities
that each image got from a head that had not seen it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import secrets
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

from ..._version import __version__
from ...arguments import says_nearest_argument
from ...cache.files import fsync_folder, storage_error, write_atomic
from ...errors import DataError, FormatError, StorageError, TlxError, UnknownNameError
from ...workspace import Workspace, check_slug
from ..duplicates import Duplicates
from ..heads.external import EstimatorPredictor
from ..heads.saved_estimator import how_to_save, keep_estimator
from ..scoring.crossval import Evaluation
from ..table import Features
from .neighbours import NEIGHBOURS, neighbours_bytes, neighbours_of
from .predictions import PREDICTIONS, Predictions, predictions_bytes
from .prior import learned_prior
from .run import Run, RunInfo, read_run

_PACKAGES = ("numpy", "scikit-learn", "h5py", "tensorflow", "keras")
_log = logging.getLogger("tlx")  # without a handler its warnings are plain lines on stderr


def save_evaluation(
    workspace: Workspace,
    table: Features,
    evaluation: Evaluation,
    *,
    seed: int,
    name: str | None = None,
    trusted: Sequence[str] | None = None,
    near: Duplicates | None = None,
) -> Run:
    """Keep an evaluated head as a run: see `save_run`; `seed` is recorded.

    `table` has the features that the head takes. `near` are its near-duplicates, of which the run
    tells how many flatter it.
    A classifier of scikit-learn's kind is kept only if all its types are in `trusted`.
    """
    rows, C = evaluation.rows, len(table.class_names)
    model, learned = evaluation.recipe.model, table.y[evaluation.trained_on]
    estimator, parts = None, evaluation.head.parts()
    if isinstance(inner := getattr(evaluation.head, "head", None), EstimatorPredictor):
        estimator, parts = keep_estimator(inner, trusted or ())
    if parts:  # it will predict
        parts = {**parts, NEIGHBOURS: neighbours_bytes(neighbours_of(table, evaluation))}
    predictions = Predictions(
        path=[table.paths[row] for row in rows],
        digest=table.digest[rows],
        label=table.y[rows],
        fold=evaluation.fold,
        group=table.groups[rows],
        probabilities=evaluation.probabilities,
        trained_on=table.digest[evaluation.trained_on],
        draws=evaluation.draws,
    )
    info = RunInfo(
        model=model,
        dataset=table.dataset,
        root=table.root,
        sources=evaluation.sources,
        class_names=table.class_names,
        protocol=evaluation.protocol,
        n=len(rows),
        metrics=evaluation.metrics,
        confusion=evaluation.confusion.tolist(),
        params=evaluation.params,
        seed=seed,
        seconds=evaluation.seconds,
        trained_on=len(learned),
        prior=learned_prior(learned, C, model, evaluation.params),
        views=int(table.view.max()),
        tta=table.tta,
        temperature=evaluation.temperature,
        predict_seconds=evaluation.predict_seconds,
        recipe=evaluation.recipe,
        features_chosen=evaluation.features_chosen,
        estimator=estimator,
        near_duplicates=near and near.told(rows, evaluation.fold, evaluation.trained_on),
    )
    run = save_run(workspace, info, parts, predictions, name)
    if trusted is not None and not run.can_predict:
        _log.warning(
            "Warning: run %s keeps its predictions alone. %s", run.id, how_to_save(estimator)
        )
    return replace(run, trusted=tuple(trusted or ()))


def check_name(workspace: Workspace, name: str | None) -> None:
    """Raise if a new run cannot have this name; None, for a name to be given, is fine.

    Raises
    ------
    DataError
        If it is no name for a run, or another run has it.
    """
    if name is None:
        return
    check_slug(name, "name for a run", reserved="best")
    if (workspace.runs / name).exists():
        raise _taken(name)


def _taken(name: str | None) -> DataError:
    return DataError(
        f"there is a run {name!r} already.", f"Choose another name, or: tlx runs rm {name}"
    )


def save_run(
    workspace: Workspace,
    info: RunInfo,
    parts: dict[str, bytes],
    predictions: Predictions,
    name: str | None = None,
    *,
    replaces: bool = False,
) -> Run:
    """Write a run, whole or not at all.

    Parameters
    ----------
    workspace : Workspace
    info : RunInfo
        All but ``created``, ``scored_id``, ``trained_id``, ``environment`` and ``parts``, which
        are filled in here.
    parts : dict of str to bytes
        The files of the head.
    predictions : Predictions
    name : str, optional
        By default the model's name and the next free number.
    replaces : bool, default=False
        Take the place of the run that has the name, once this one is whole.

    Returns
    -------
    Run

    Raises
    ------
    DataError
        If a run of that name exists, and is not to be replaced.
    StorageError
        If the system refuses to write it.
    """
    if not replaces:
        check_name(workspace, name)
    parts = {**parts, PREDICTIONS: predictions_bytes(predictions)}
    info = replace(
        info,
        created=_time_of_next(workspace).isoformat(timespec="microseconds"),
        scored_id=predictions.scored_id,
        trained_id=predictions.trained_id,
        environment=_environment(),
        parts={part: hashlib.sha256(data).hexdigest() for part, data in parts.items()},
    )
    temporary = workspace.runs / f".{info.model}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        for part, data in parts.items():
            write_atomic(temporary / part, data)
        write_atomic(temporary / "run.json", json.dumps(info.to_json(), indent=1).encode())
        with _set_aside(workspace.runs / name if replaces and name else None):
            run_id = _claim(workspace, temporary, info.model, name)
        return Run(run_id, workspace.runs / run_id, info)
    except OSError as error:
        if isinstance(error, TlxError):
            raise
        raise storage_error(error, temporary) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _time_of_next(workspace: Workspace) -> datetime:
    """Return the time for a new run: now, and later than all runs here, whatever the clock says."""
    now = datetime.now(timezone.utc)
    taken = [run.info.time for run in list_runs(workspace, lambda run_id, error: None)]
    return max([now, *(time + timedelta(microseconds=1) for time in taken)])


@contextmanager
def _set_aside(folder: Path | None) -> Iterator[None]:
    """Move a run out of the way; remove it when its successor is there, else put it back."""
    if folder is None or not folder.exists():
        yield
        return
    hidden = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    os.rename(folder, hidden)
    try:
        yield
    except BaseException:
        if not folder.exists():
            os.rename(hidden, folder)
        raise
    shutil.rmtree(hidden, ignore_errors=True)


def _claim(workspace: Workspace, temporary: Path, model: str, name: str | None) -> str:
    """Rename the finished folder to its name; two processes never get the same."""
    if name is not None:
        candidates = [name]
    else:
        taken = {run.name for run in workspace.runs.iterdir()}
        candidates = [f"{model}-{i}" for i in range(1, len(taken) + 1000)]
        candidates = [c for c in candidates if c not in taken]
    for candidate in candidates:
        try:
            # A rename onto an existing folder fails unless that is empty, and no run is empty.
            os.rename(temporary, workspace.runs / candidate)
        except OSError:
            if not (workspace.runs / candidate).exists():
                raise
            continue
        fsync_folder(workspace.runs)
        return candidate
    raise _taken(name)


@says_nearest_argument
def list_runs(
    workspace: str | os.PathLike[str] = ".tlx",
    on_damage: Callable[[str, TlxError], None] | None = None,
) -> list[Run]:
    """Return all runs that can be opened, the oldest first.

    Parameters
    ----------
    workspace : path, default=".tlx"
    on_damage : callable, optional
        Given the id of each run that cannot be opened, and why. By default the logger ``tlx``
        is told, which says it on stderr unless it was configured otherwise.

    Returns
    -------
    list of Run

    Examples
    --------
    >>> import tlx
    >>> fitted = tlx.fit_heads(["logreg", "lda"])
    >>> {run.id: run.metrics["accuracy"].value for run in tlx.list_runs()}
    {'logreg-1': 1.0, 'lda-1': 1.0}
    """
    on_damage = on_damage or warn_of_damage
    runs = []
    for folder in _folders(Workspace(workspace)):
        try:
            runs.append(read_run(folder))
        except (FormatError, StorageError) as error:
            if folder.exists():  # and was not removed meanwhile
                on_damage(folder.name, error)
    return sorted(runs, key=by_age)


def _folders(workspace: Workspace) -> list[Path]:
    """Return the folders of all runs, damaged or not."""
    return sorted(f for f in workspace.runs.glob("*") if not f.name.startswith(".") and f.is_dir())


def warn_of_damage(run_id: str, error: TlxError) -> None:
    """Tell the logger ``tlx`` that a run cannot be used."""
    _log.warning(
        "Warning: run %s is left out: %s\nFit it again, or: tlx runs rm %s",
        run_id,
        error.cause,
        shlex.quote(run_id),
    )


def is_run(folder: Path, workspace: Workspace) -> bool:
    """Return whether `folder` is meant to be a run; within the workspace, all folders are."""
    try:
        inside = folder.parent == workspace.runs and folder.name not in ("", "..")
        return folder.is_dir() and (inside or os.path.lexists(folder / "run.json"))
    except OSError:  # a name that is too long for the system
        return False


def by_age(run: Run) -> tuple[datetime, tuple[str, int]]:
    """Return a key that sorts runs, the oldest first; at the same time, by their numbers."""
    stem, _, number = run.id.rpartition("-")
    natural = (stem, int(number)) if number.isdigit() else (run.id, 0)
    return run.info.time, natural


def remove_runs(
    workspace: Workspace, run_ids: Iterable[str], *, dry_run: bool = False
) -> list[str]:
    """Remove runs of a workspace; none of them if any is not there.

    Parameters
    ----------
    workspace : Workspace
    run_ids : iterable of str
        Ids, not paths: nothing outside the workspace is ever removed.
    dry_run : bool, default=False
        Only return what would be removed.

    Returns
    -------
    list of str
        Their ids, damaged runs among them.

    Raises
    ------
    UnknownNameError
        If there is no such run.
    StorageError
        If a folder cannot be removed.
    """
    known = {folder.name: folder for folder in _folders(workspace)}
    chosen = {}
    for run_id in run_ids:
        if run_id not in known:
            raise UnknownNameError.nearest("run", run_id, known)
        chosen[run_id] = known[run_id]
    for run_id, folder in () if dry_run else chosen.items():
        # Renamed first: a removal that is cut short leaves no run without its parts.
        hidden = folder.with_name(f".{run_id}.{secrets.token_hex(4)}.tmp")
        try:
            os.rename(folder, hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise storage_error(error, folder) from error
    return list(chosen)


def _environment() -> dict[str, str]:
    return {
        "tlx": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: version(package) for package in _PACKAGES},
    }
