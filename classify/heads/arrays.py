"""Heads as files: named arrays in one HDF5 file, the same for all heads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...cache.hdf5 import checked_dataset, file_image, memory_file, open_image
from ...errors import FormatError

HEAD_FILE = "head.h5"


def head_parts(kind: str, arrays: Mapping[str, Any]) -> dict[str, bytes]:
    """Return ``head.h5``: a data set an array, and the attribute ``kind``."""
    with memory_file() as file:
        file.attrs["kind"] = kind
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        return {HEAD_FILE: file_image(file)}


def read_arrays(path: Path, data: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Return the kind of head in the bytes of a file, and its arrays; `path` is for messages.

    Raises
    ------
    FormatError, OSError, RuntimeError, TypeError, ValueError
        If the file is damaged, foreign or hostile.
    """
    size = len(data)
    with open_image(data) as file:
        found = {name: checked_dataset(path, file, name, size) for name in map(str, file)}
        claimed = sum(array.nbytes for array in found.values())
        if claimed > size:  # none is larger than the file, but all could lie in the same bytes
            raise FormatError(f"{path} claims {claimed:,} bytes in a file of {size:,}.", "")
        # The first heads noted no kind, and were of these two.
        kind = file.attrs.get("kind", "linear" if "weights" in found else "dense")
        return str(kind), {name: array[()] for name, array in found.items()}
