"""One matrix in a file, to be mapped into memory: written in blocks, checked whenever it is opened.

Layout, format 1: the rows (N, D) float32, little-endian, one after another; then 4,096 bytes of
JSON, padded with spaces: ``format``, ``version``, ``key`` (what it was made of), ``rows``,
``columns`` and the ``crc`` of all rows. HDF5 is not used, as it cannot write what does not fit into
memory without leaving a file that is half done.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .files import atomic_file, remove_stale_temporaries
from .identity import canonical_json

FORMAT = "tlx-matrix"
VERSION = 1  # a file of another version is made anew
_TRAILER = 4096
_BLOCK = 2**24  # bytes checked at a time
_TYPE = np.dtype("<f4")


def write_matrix(path: Path, key: str, blocks: Iterable[np.ndarray], size: int = 0) -> None:
    """Write blocks of rows (n, D) float32 as one file, whole or not at all.

    Parameters
    ----------
    path : Path
    key : str
        What the matrix is made of: it is read by the same alone.
    blocks : iterable of ndarray
        One is held at a time.
    size : int, default=0
        About how many bytes it will have, for the message.

    Raises
    ------
    StorageError
        If the disk is full or the like. Nothing is left behind.
    """
    remove_stale_temporaries(path.parent)
    rows = columns = crc = 0
    with atomic_file(path, size) as file:
        for block in blocks:
            data = np.ascontiguousarray(block, _TYPE)
            rows, columns = rows + len(data), data.shape[1]
            raw = data.reshape(-1).view(np.uint8).data
            crc = zlib.crc32(raw, crc)
            file.write(raw)
        told = {
            "format": FORMAT,
            "version": VERSION,
            "key": key,
            "rows": rows,
            "columns": columns,
            "crc": crc,
        }
        file.write(canonical_json(told).encode().ljust(_TRAILER))


def read_matrix(path: Path, key: str) -> np.ndarray | None:
    """Return the matrix (N, D) float32 of a file, mapped; every byte of it is checked.

    Returns
    -------
    memmap or None
        Read-only. None if there is no such file, or it is damaged or was made of something else.
    """
    try:
        with open(path, "rb") as file:
            length = file.seek(0, 2) - _TRAILER
            file.seek(max(length, 0))
            told = json.loads(file.read())
            shape = told["rows"], told["columns"]
            names = told["format"], told["version"], told["key"]
            if names != (FORMAT, VERSION, key) or length != shape[0] * shape[1] * _TYPE.itemsize:
                return None
            file.seek(0)
            crc, left = 0, length
            while left:
                part = file.read(min(_BLOCK, left))
                crc, left = zlib.crc32(part, crc), left - len(part)
                if not part:
                    return None
            if crc != told["crc"]:
                return None
            found = np.memmap(file, _TYPE, "r", 0, shape)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
    ):  # not there, or no JSON that was written here
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # how long ago it was looked at decides what is dropped
    return found


def drop_oldest(folder: Path, kept: int) -> list[Path]:
    """Remove the matrices of a folder but those looked at last; return what was removed."""
    removed = []
    with contextlib.suppress(OSError):
        files = sorted(folder.glob("[0-9a-f]*.f32"), key=lambda p: p.stat().st_mtime_ns)
        for old in files[: max(0, len(files) - kept)]:
            with contextlib.suppress(OSError):  # mapped by another process on Windows
                old.unlink()
                removed.append(old)
    return removed
