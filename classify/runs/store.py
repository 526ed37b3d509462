"""Runs: what a fit leaves behind, in a folder of plain files that can be checked and shared.

``run.json`` tells everything a person asks for and lists the SHA-256 of every other file; the head
is ``head.h5`` (the arrays of a linear or dense head) or ``head.skops`` (nearest neighbours), beside
which a dense head has ``head.keras``; ``predictions.h5`` holds the probabilities that each image
got from a head that had not seen it.
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
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..._version import __version__
from ...cache.files import fsync_folder, storage_error, write_atomic
from ...cache.hdf5 import file_image, memory_file, read_column, text_array
from ...errors import DataError, FormatError, StorageError, TlxError, UnknownNameError
from ...workspace import Workspace, check_slug
from ..heads.predictors import load_predictor
from ..scoring.calibrate import calibrate_head
from .checks import REFIT, check_head, check_outputs, check_part, open_part, read_info

FORMAT = "tlx-run"
VERSION = 1
_PACKAGES = ("numpy", "scikit-learn", "h5py", "tensorflow", "keras")
_PREDICTIONS = {
    "path": "S",
    "digest": np.uint8,
    "label": np.int32,
    "fold": np.int32,
    "group": np.int64,
    "probabilities": np.float32,
    "trained_on": np.uint8,
}
_log = logging.getLogger("tlx")  # without a handler its warnings are plain lines on stderr


@dataclass(frozen=True)
class Run:
    """A trained predictor with its numbers.

    Attributes
    ----------
    id : str
    folder : Path
    info : dict
        The content of ``run.json``.
    """

    id: str
    folder: Path
    info: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the C classes, in the order of the probabilities."""
        return tuple(self.info["class_names"])

    @property
    def source(self) -> dict[str, str]:
        """The spec that its features have: ``fingerprint``, ``spec`` and ``weights``.

        Raises
        ------
        DataError
            If it joins the features of several backbones.
        """
        sources = self.info["sources"]
        if len(sources) > 1:
            raise DataError(
                f"run {self.id} joins the features of {len(sources)} backbones.",
                "Use a run of one backbone: tlx fit-head --features NAME",
            )
        return sources[0]

    def head(self) -> Any:
        """Return the predictor: ``predict_proba(X)`` maps (N, D) features to (N, C).

        Its probabilities are calibrated.

        Raises
        ------
        FormatError
            If its files are missing, damaged, foreign or hostile.
        """
        check_head(self.folder, self.info["parts"])
        try:
            head = load_predictor(self.folder, self.info["parts"])
        except FormatError as error:
            raise FormatError(" ".join(error.cause.split()), REFIT) from error
        check_outputs(self.folder, head, len(self.class_names))
        return calibrate_head(head, self.info.get("temperature", 1.0), folded=True)

    def predictions(self) -> dict[str, Any]:
        """Return the out-of-fold predictions of the M scored images.

        Returns
        -------
        dict
            ``path`` list of M str, ``digest`` (M, 32) uint8, ``label`` and ``fold`` (M,) int32,
            ``group`` (M,) int64, ``probabilities`` (M, C) float32, calibrated, and ``trained_on``
            (T, 32) uint8, the digests that the kept head learned from.

        Raises
        ------
        FormatError
            If the file is missing, damaged, foreign or hostile.
        StorageError
            If the system refuses to read it.
        """
        with open_part(self.folder, "predictions.h5", self.info["parts"]) as (path, file):
            shape = read_column(path, file, "probabilities", np.float32, (-1, -1)).shape
            found: dict[str, Any] = {
                name: read_column(path, file, name, dtype, _lengths(name, shape))
                for name, dtype in _PREDICTIONS.items()
            }
        label, probabilities = found["label"], found["probabilities"]
        C = len(self.class_names)
        sane = probabilities.shape[1] == C and bool(((label >= 0) & (label < C)).all())
        if not sane or not np.isfinite(probabilities).all() or (probabilities < 0).any():
            raise FormatError(f"{path} does not fit to the {C} classes of its run.", REFIT)
        found["path"] = [os.fsdecode(value) for value in found["path"]]
        return found


def save_run(
    workspace: Workspace, table: Any, evaluation: Any, *, seed: int, name: str | None = None
) -> Run:
    """Write a run, whole or not at all.

    Parameters
    ----------
    workspace : Workspace
    table : FeatureTable
    evaluation : Evaluation
    seed : int
        Recorded, so that the same command gives the same numbers again.
    name : str, optional
        By default the model's name and the next free number.

    Returns
    -------
    Run

    Raises
    ------
    DataError
        If a run of that name exists.
    """
    predictions = {
        "path": text_array(table.path[row] for row in evaluation.rows),
        "digest": table.digest[evaluation.rows],
        "label": table.y[evaluation.rows].astype(np.int32),
        "fold": evaluation.fold.astype(np.int32),
        "group": table.groups[evaluation.rows],
        "probabilities": evaluation.probabilities.astype(np.float32),
        "trained_on": table.digest[evaluation.trained_on],
    }
    parts = {
        **evaluation.head.parts(),
        "predictions.h5": _predictions_bytes(predictions),
    }
    info = {
        "model": evaluation.model,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "dataset": table.dataset,
        "root": table.root,
        "sources": table.sources,
        "class_names": list(table.class_names),
        "protocol": evaluation.protocol,
        "n": len(evaluation.rows),
        "trained_on": len(evaluation.trained_on),
        "views": int(table.view.max()),
        "metrics": {key: asdict(metric) for key, metric in evaluation.metrics.items()},
        "confusion": evaluation.confusion.tolist(),
        "params": evaluation.params,
        "temperature": evaluation.temperature,
        "seconds": evaluation.seconds,
        "predict_seconds": evaluation.predict_seconds,
        "settings": evaluation.settings,
        "seed": seed,
        "environment": _environment(),
    }
    return write_run(workspace, evaluation.model, info, parts, name)


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


def write_run(
    workspace: Workspace,
    model: str,
    info: dict[str, Any],
    parts: dict[str, bytes],
    name: str | None = None,
) -> Run:
    """Write a folder of `parts` and a ``run.json``, and give it its name last."""
    check_name(workspace, name)
    hashes = {part: hashlib.sha256(data).hexdigest() for part, data in parts.items()}
    info = {"format": FORMAT, "version": VERSION, **info, "parts": hashes}
    temporary = workspace.runs / f".{model}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        for part, data in parts.items():
            write_atomic(temporary / part, data)
        write_atomic(temporary / "run.json", json.dumps(info, indent=1).encode())
        return Run(
            run_id := _claim(workspace, temporary, model, name), workspace.runs / run_id, info
        )
    except OSError as error:
        if isinstance(error, TlxError):
            raise
        raise storage_error(error, temporary) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def load_run(run_id: str, workspace: str | os.PathLike[str] = ".tlx") -> Run:
    """Open a run by its id, by the path of its folder, or ``"best"``.

    Every part is checked against its SHA-256.

    Raises
    ------
    UnknownNameError
        If there is no such run.
    FormatError
        If a part is missing or does not have its SHA-256.
    """
    workspace = Workspace(workspace)
    if run_id == "best":
        return best_run(workspace)
    for folder in (workspace.runs / run_id if os.sep not in run_id else None, Path(run_id)):
        if folder is not None and _is_run(folder, workspace):
            return _open(folder)
    known = [run.id for run in list_runs(workspace)]
    raise UnknownNameError.nearest("run", run_id, [*known, "best"] if known else [])


def list_runs(
    workspace: Workspace, on_damage: Callable[[str, TlxError], None] | None = None
) -> list[Run]:
    """Return all runs that can be opened, the oldest first.

    Parameters
    ----------
    workspace : Workspace
    on_damage : callable, optional
        Given the id of each run that cannot be opened, and why. By default the logger ``tlx``
        is told, which says it on stderr unless it was configured otherwise.
    """
    on_damage = on_damage or _warn
    runs = []
    for folder in _folders(workspace):
        try:
            runs.append(Run(folder.name, folder, read_info(folder, FORMAT, VERSION)))
        except (FormatError, StorageError) as error:
            if folder.exists():  # and was not removed meanwhile
                on_damage(folder.name, error)
    return sorted(runs, key=by_age)


def _folders(workspace: Workspace) -> list[Path]:
    """Return the folders of all runs, damaged or not."""
    return sorted(f for f in workspace.runs.glob("*") if not f.name.startswith(".") and f.is_dir())


def _warn(run_id: str, error: TlxError) -> None:
    _log.warning(
        "Warning: run %s is left out: %s\nFit it again, or: tlx runs rm %s",
        run_id,
        error.cause,
        shlex.quote(run_id),
    )


def _is_run(folder: Path, workspace: Workspace) -> bool:
    """Return whether `folder` is meant to be a run; within the workspace, all folders are."""
    try:
        inside = folder.parent == workspace.runs and folder.name not in ("", "..")
        return folder.is_dir() and (inside or os.path.lexists(folder / "run.json"))
    except OSError:  # a name that is too long for the system
        return False


def by_age(run: Run) -> tuple[str, tuple[str, int]]:
    """Return a key that sorts runs, the oldest first; within a second, by their numbers."""
    return run.info["created"], _natural(run.id)


def remove_runs(
    workspace: Workspace, run_ids: Iterable[str], *, dry_run: bool = False
) -> list[Run]:
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
    list of Run

    Raises
    ------
    UnknownNameError
        If there is no such run.
    StorageError
        If a folder cannot be removed.
    """
    known = {run.id: run for run in list_runs(workspace, lambda run_id, error: None)}
    # A damaged run can be removed, too: nobody would have another use for it.
    known |= {f.name: Run(f.name, f, {}) for f in _folders(workspace) if f.name not in known}
    chosen = {}
    for run_id in run_ids:
        if run_id not in known:
            raise UnknownNameError.nearest("run", run_id, known)
        chosen[run_id] = known[run_id]
    for run in () if dry_run else chosen.values():
        # Renamed first: a removal that is cut short leaves no run without its parts.
        hidden = run.folder.with_name(f".{run.id}.{secrets.token_hex(4)}.tmp")
        try:
            os.rename(run.folder, hidden)
            shutil.rmtree(hidden)
        except OSError as error:
            raise storage_error(error, run.folder) from error
    return list(chosen.values())


def best_run(workspace: Workspace, dataset: str | None = None) -> Run:
    """Return the run that ``tlx compare`` ranks first.

    It has the highest accuracy of those on the same images and folds as the newest run of the data
    set, by default the one embedded last. Ties go to the lower log loss, then to the newer run.
    """
    from ..compare import best_of

    return _open(best_of(workspace, dataset).folder)


def _open(folder: Path) -> Run:
    info = read_info(folder, FORMAT, VERSION)
    for part in info["parts"]:
        check_part(folder, part, info["parts"])
    return Run(folder.name, folder, info)


def _lengths(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that column `name` of the predictions must have; -1 for any length."""
    if name == "probabilities":
        return shape
    if name == "trained_on":
        return (-1, 32)
    return (shape[0], 32) if name == "digest" else (shape[0],)


def _predictions_bytes(predictions: dict[str, np.ndarray]) -> bytes:
    with memory_file() as file:
        for name, values in predictions.items():
            file.create_dataset(name, data=values)
        return file_image(file)


def _environment() -> dict[str, str]:
    return {
        "tlx": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: version(package) for package in _PACKAGES},
    }


def _natural(run_id: str) -> tuple[str, int]:
    stem, _, number = run_id.rpartition("-")
    return (stem, int(number)) if number.isdigit() else (run_id, 0)
