"""Nearest neighbours as tlx 0.1 saved them before: ``head.skops``, read without skops or pickle.

Such a file is a zip archive of ``schema.json``, which names the type of one object and which member
holds which of its arrays, and of those arrays as .npy. Only that type, its arrays and its numbers
are taken. Whatever else a schema can say (other types, functions, pickled bytes) is not looked at
but refused.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FormatError
from .knn import NeighborsPredictor
from .saved_estimator import check_stored

OLD_FILE = "head.skops"
_TYPES = ("tlx.classify.heads.KNNHead", "tlx.classify.heads.estimators.KNNHead")
_ARRAYS = ("rows_", "labels_", "weight_", "classes_", "mean_", "scale_")
_MEMBER_BYTES = 2**20  # of schema.json: nine entries are 4 KiB


def read_old_neighbors(path: Path, data: bytes) -> NeighborsPredictor:
    """Return the head in the bytes of a ``head.skops``; `path` is for messages.

    Raises
    ------
    FormatError
        If the file is damaged, foreign or hostile.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_stored(path, archive, len(data))
            state = _state(path, archive)
    except (zipfile.BadZipFile, NotImplementedError, RecursionError, EOFError) as error:
        raise FormatError(f"{path} is no head: {error}.", "Fit it again.") from error
    rows = state["rows_"]
    arrays = {name.rstrip("_"): array for name, array in state.items() if name in _ARRAYS}
    C = len(arrays.pop("classes"))
    if rows.ndim == 2:  # the very first took features as they are
        arrays.setdefault("mean", np.zeros(rows.shape[1], np.float32))
        arrays.setdefault("scale", np.ones(rows.shape[1], np.float32))
    arrays |= {"k": np.array(state["k"], np.int64), "n_classes": np.array(C, np.int64)}
    return NeighborsPredictor.from_arrays(arrays)


def _state(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    """Return the arrays of the object in the archive, and its ``k``."""
    member = archive.getinfo("schema.json")
    if member.file_size > _MEMBER_BYTES:
        raise ValueError(f"its schema has {member.file_size:,} bytes")
    schema = json.loads(archive.read(member))
    if _type(schema) not in _TYPES or schema["__loader__"] != "ObjectNode":
        raise FormatError(
            f"{path} holds a type that is not trusted: {_type(schema):.100}.",
            "Do not use it: no head of tlx has it.",
        )
    content = schema["content"]
    if content["__loader__"] != "DictNode":
        raise ValueError("its state is no table")
    state = {}
    for name, node in content["content"].items():
        if name in _ARRAYS:
            if node["__loader__"] != "NdArrayNode" or node["type"] != "numpy":
                raise FormatError(
                    f"{path} holds a type that is not trusted: {_type(node):.100}.",
                    "Do not use it: no head of tlx has it.",
                )
            state[name] = _array(archive.read(node["file"]))
        elif name == "k":
            if node["__loader__"] != "JsonNode":
                raise ValueError("its k is no number")
            state[name] = int(node["content"])
    return state


def _type(node: Any) -> str:
    return f"{node['__module__']}.{node['__class__']}"


def _array(data: bytes) -> np.ndarray:
    """Return the array in a .npy file whose values are its own bytes, all of them."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of an unknown format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    values = data[file.tell() :]
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"an array of shape {shape} and type {dtype} in {len(values)} bytes")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if fortran else "C")
