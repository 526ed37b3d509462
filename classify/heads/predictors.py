"""Read the head of a run from its files, and nothing but a head."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...errors import FormatError
from .dense import DensePredictor
from .knn import NeighborsPredictor
from .linear import LinearPredictor

# All that a head.skops may hold beside what skops itself trusts (arrays and numbers).
TRUSTED = ("tlx.classify.heads.estimators.KNNHead",)


def load_predictor(
    folder: Path, parts: Collection[str]
) -> LinearPredictor | DensePredictor | NeighborsPredictor:
    """Read the head of a run.

    Parameters
    ----------
    folder : Path
    parts : collection of str
        The files that the run lists.

    Raises
    ------
    FormatError
        If there is no head, or it is damaged, foreign or holds a type that is not trusted.
    """
    if "head.skops" in parts:
        return _load_neighbors(folder / "head.skops")
    path = folder / "head.h5"
    if "head.h5" not in parts:
        raise FormatError(f"{folder} has no head.", "Fit it again.")
    try:
        with h5py.File(path, "r", locking=False) as file:
            linear = "weights" in file
    except OSError as error:
        raise FormatError(f"{path} is no head: {error}.", "Fit it again.") from error
    return LinearPredictor.load(path) if linear else DensePredictor.load(path)


def _load_neighbors(path: Path) -> NeighborsPredictor:
    import skops.io

    data = path.read_bytes()
    try:
        strange = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED))
        head: Any = None if strange else skops.io.loads(data, trusted=list(TRUSTED))
    except Exception as error:  # skops raises what its parsers do: KeyError, BadZipFile, ...
        raise FormatError(f"{path} is no head: {error}.", "Fit it again.") from error
    if strange:
        raise FormatError(
            f"{path} holds types that are not trusted: {', '.join(strange)}.",
            "Do not use it: no head of tlx has them.",
        )
    if f"{type(head).__module__}.{type(head).__qualname__}" not in TRUSTED:
        raise FormatError(f"{path} is no head but a {type(head).__qualname__}.", "Fit it again.")
    return _checked(path, vars(head))


def _checked(path: Path, state: dict[str, Any]) -> NeighborsPredictor:
    """Return the predictor in the state of a nearest neighbour head, if it makes sense."""
    arrays = [state.get(key) for key in ("rows_", "labels_", "weight_", "classes_")]
    k = state.get("k")
    if all(isinstance(array, np.ndarray) for array in arrays) and isinstance(k, int):
        rows, labels, weight, classes = (np.asarray(array) for array in arrays)
        # The first heads were saved without them: they took features as they are.
        mean = np.asarray(state.get("mean_", np.zeros(rows.shape[-1:], np.float32)))
        scale = np.asarray(state.get("scale_", np.ones(rows.shape[-1:], np.float32)))
        shapes = rows.ndim == 2 and labels.shape == weight.shape == rows.shape[:1]
        types = (rows.dtype, weight.dtype, labels.dtype) == (np.float32, np.float64, np.int64)
        shapes &= mean.shape == scale.shape == rows.shape[1:]
        types &= mean.dtype == scale.dtype == np.float32
        if shapes and types and 1 <= k <= len(rows) and set(labels) <= set(range(len(classes))):
            return NeighborsPredictor(rows, labels, weight, len(classes), k, mean, scale)
    raise FormatError(f"{path} is no nearest neighbour head.", "Fit it again.")
