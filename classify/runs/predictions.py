"""The out-of-fold predictions of a run, as an object and as a file; those by epoch as another."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...cache.hdf5 import file_image, memory_file, read_column, text_array
from ...errors import FormatError
from .checks import REFIT, open_part

PREDICTIONS = "predictions.h5"
EPOCHS = "epochs.h5"  # only of a fine-tuning
DRAWS = "draws"  # its one column that only runs of several draws have


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """What M images got from heads that had not seen them. C classes.

    Attributes
    ----------
    path : list of M str
    digest : ndarray of shape (M, 32), uint8
    label, fold : ndarray of shape (M,), int32
        True class, and which fold held the image out.
    group : ndarray of shape (M,), int64
        Images of one group are dependent.
    probabilities : ndarray of shape (M, C), float32
        Calibrated.
    trained_on : ndarray of shape (T, 32), uint8
        Digests of the rows that the kept head learned from.
    draws : ndarray of shape (R, M, C), float32, or None
        Of a run whose metrics are means over R draws of few images, or of R dealings of the folds:
        the probabilities of each, of which `probabilities` is the first.
    """

    path: list[str]
    digest: np.ndarray
    label: np.ndarray
    fold: np.ndarray
    group: np.ndarray
    probabilities: np.ndarray
    trained_on: np.ndarray
    draws: np.ndarray | None = None

    @property
    def all_draws(self) -> np.ndarray:
        """The probabilities of each draw, (R, M, C); of most runs there is one."""
        return self.probabilities[None] if self.draws is None else self.draws

    @property
    def scored_id(self) -> str:
        """See `scored_id`."""
        return scored_id(self.digest, self.label)

    @property
    def trained_id(self) -> str:
        """See `trained_id`."""
        return trained_id(self.trained_on)

    def __repr__(self) -> str:
        return f"<Predictions: {len(self.path)} images, {self.probabilities.shape[1]} classes>"


def scored_id(digest: np.ndarray, label: np.ndarray) -> str:
    """Return what is equal for the same images with the same labels, in whatever order.

    Parameters
    ----------
    digest : ndarray of shape (M, 32), uint8
    label : ndarray of shape (M,), int
    """
    labels = np.ascontiguousarray(label, "<i4").view(np.uint8).reshape(len(label), 4)
    return _id_of(np.hstack([digest, labels]))


def trained_id(digest: np.ndarray) -> str:
    """Return what is equal for the same images, in whatever order and however often each."""
    return _id_of(np.unique(digest, axis=0))


def _id_of(rows: np.ndarray) -> str:
    ordered = sorted(map(bytes, rows))
    return hashlib.sha256(b"".join(ordered)).hexdigest()


_COLUMNS = {
    "path": "S",
    "digest": np.uint8,
    "label": np.int32,
    "fold": np.int32,
    "group": np.int64,
    "probabilities": np.float32,
    "trained_on": np.uint8,
}


def predictions_bytes(predictions: Predictions) -> bytes:
    """Return the file that `read_predictions` reads."""
    columns = {
        "path": text_array(predictions.path),
        "digest": predictions.digest,
        "label": predictions.label.astype(np.int32),
        "fold": predictions.fold.astype(np.int32),
        "group": predictions.group.astype(np.int64),
        "probabilities": predictions.probabilities.astype(np.float32),
        "trained_on": predictions.trained_on,
    }
    if predictions.draws is not None:
        columns[DRAWS] = predictions.draws.astype(np.float32)
    with memory_file() as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values)
        return file_image(file)


def read_predictions(folder: Path, parts: dict[str, str], C: int) -> Predictions:
    """Read the predictions in a run's folder; C is its number of classes, `parts` its files.

    Raises
    ------
    FormatError
        If the file is missing, damaged, foreign or hostile.
    StorageError
        If the system refuses to read it.
    """
    with open_part(folder, PREDICTIONS, parts) as (path, file):
        shape = read_column(path, file, "probabilities", np.float32, (-1, -1)).shape
        found: dict[str, Any] = {
            name: read_column(path, file, name, dtype, _lengths(name, shape))
            for name, dtype in _COLUMNS.items()
        }
        if DRAWS in file:
            found[DRAWS] = read_column(path, file, DRAWS, np.float32, (-1, *shape))
    label, probabilities = found["label"], found["probabilities"]
    sane = probabilities.shape[1] == C and bool(((label >= 0) & (label < C)).all())
    given = found.get(DRAWS, probabilities)
    sane &= all(bool(np.isfinite(p).all() and (p >= 0).all()) for p in (probabilities, given))
    if not sane or not len(given):
        raise FormatError(f"{path} does not fit to the {C} classes of its run.", REFIT)
    found["path"] = [os.fsdecode(value) for value in found["path"]]
    return Predictions(**found)


def _lengths(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that column `name` of the predictions must have; -1 for any length."""
    if name == "probabilities":
        return shape
    if name == "trained_on":
        return (-1, 32)
    return (shape[0], 32) if name == "digest" else (shape[0],)


def epochs_bytes(logits: Sequence[np.ndarray]) -> bytes:
    """Return the file that `read_epochs` reads.

    Parameters
    ----------
    logits : sequence of E ndarray of shape (M, C)
    """
    with memory_file() as file:
        file.create_dataset("logits", data=np.stack(logits).astype(np.float32))
        return file_image(file)


def read_epochs(folder: Path, parts: dict[str, str], M: int, C: int) -> np.ndarray:
    """Read the logits of each epoch in a run's folder, shape (E, M, C) float32.

    Raises
    ------
    FormatError
        If the file is missing, damaged, foreign or hostile.
    StorageError
        If the system refuses to read it.
    """
    with open_part(folder, EPOCHS, parts) as (path, file):
        logits = read_column(path, file, "logits", np.float32, (-1, M, C))
    if not np.isfinite(logits).all() or not len(logits):
        raise FormatError(f"{path} has logits that are no numbers.", REFIT)
    return logits
