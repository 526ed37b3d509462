"""What tells the strangers among new images, as a part of a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...cache.hdf5 import file_image, memory_file, read_column
from ...errors import FormatError
from ..scoring.crossval import Evaluation
from ..strangers import Neighbours, find_neighbours
from ..table import Features
from .checks import REFIT, open_part
from .run import Run

NEIGHBOURS = "neighbours.h5"


def neighbours_of(table: Features, evaluation: Evaluation) -> Neighbours:
    """Return what an evaluated head is to keep of the features that it learned from.

    Those are of plain images, or with test-time augmentation of their means, which new images are
    seen by.
    """
    X = table.X if table.X_tta is None else table.X_tta
    learned = evaluation.trained_on[table.view[evaluation.trained_on] == 0]
    return find_neighbours(X, table.y, table.groups, learned, evaluation.rows)


def neighbours_bytes(neighbours: Neighbours) -> bytes:
    """Return the file that `read_neighbours` reads."""
    with memory_file() as file:
        file.create_dataset("references", data=neighbours.references.astype(np.float16))
        file.create_dataset("distances", data=neighbours.distances.astype(np.float32))
        return file_image(file)


def read_neighbours(run: Run) -> Neighbours | None:
    """Return what tells the strangers among images; None for a run that does not have it.

    Raises
    ------
    FormatError
        If the file is missing, damaged, foreign or hostile.
    StorageError
        If the system refuses to read it.
    """
    if NEIGHBOURS not in run.info.parts:
        return None
    with open_part(run.folder, NEIGHBOURS, run.info.parts) as (path, file):
        found: dict[str, Any] = {
            "references": read_column(path, file, "references", np.float16, (-1, -1)),
            "distances": read_column(path, file, "distances", np.float32, (run.info.n,)),
        }
    references, distances = found["references"], found["distances"]
    if not len(references) or not np.isfinite(references).all() or np.isnan(distances).any():
        raise FormatError(f"{path} has embeddings or distances that are no numbers.", REFIT)
    return Neighbours(**found)


def stranger_p_values(run: Run, neighbours: Neighbours, X: np.ndarray) -> np.ndarray:
    """Return the p-values (N,) of embeddings X (N, D): see `Neighbours.p_values`.

    Raises
    ------
    FormatError
        If what the run keeps is of embeddings of another length.
    """
    D = neighbours.references.shape[1]
    if X.shape[1] != D:
        path = run.folder / NEIGHBOURS
        raise FormatError(f"{path} has embeddings of {D} numbers, not of {X.shape[1]}.", REFIT)
    return neighbours.p_values(X)
