"""Stored rows in any order, one by one, without reading the shards around them.

Training over cached feature maps visits the images in a new order every epoch. Reading through HDF5
would fetch a whole chunk for each; here the place of each row in its file is looked up once, and a
read is a seek, the bytes of that row, and its checksum.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import FormatError
from .hdf5 import USER_BLOCK, damaged
from .shard import open_shard
from .store import FeatureStore


class _Layout(NamedTuple):
    """Where the n rows of one shard are."""

    crc: np.ndarray  # (n,) uint32
    offset: np.ndarray  # (n,) int64, in the file
    shape: tuple[int, ...]  # of one row
    dtype: np.dtype


class RowReader:
    """Random access to the features of a fixed list of images.

    Memory does not grow with the features: only places are kept, about 100 bytes an image.

    Parameters
    ----------
    store : FeatureStore
    digests : iterable of N bytes
        May repeat.

    Attributes
    ----------
    shape : tuple of int
        Of one row.
    dtype : dtype
        float32 or float16.

    Raises
    ------
    DataError
        If any image is not stored.
    """

    def __init__(self, store: FeatureStore, digests: Iterable[bytes]) -> None:
        self._digests = list(digests)
        self._files: list[Path] = []
        self._file = np.empty(len(self._digests), np.int64)
        self._offset = np.empty(len(self._digests), np.int64)
        self._crc = np.empty(len(self._digests), np.uint32)
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.float32)
        for path, places, (layout, rows) in store.visit(
            self._digests, lambda shard, rows: (_read_layout(shard, store.spec_json), rows)
        ):
            self.shape, self.dtype = layout.shape, layout.dtype
            self._file[places] = len(self._files)
            self._offset[places], self._crc[places] = layout.offset[rows], layout.crc[rows]
            self._files.append(path)

    def __len__(self) -> int:
        return len(self._digests)

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return some rows, each of them checked.

        Parameters
        ----------
        rows : sequence of m int
            Places in the list of images, in any order.

        Returns
        -------
        ndarray of shape (m, …), float32 or float16

        Raises
        ------
        FormatError
            If a row fails its checksum.
        """
        out = np.empty((len(rows), *self.shape), self.dtype)
        flat = out.reshape(len(rows), -1).view(np.uint8)
        in_file: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            in_file.setdefault(int(self._file[row]), []).append(place)
        for number, places in in_file.items():
            with self._open(number) as file:
                for place in places:
                    row = rows[place]
                    file.seek(int(self._offset[row]))
                    read = file.readinto(flat[place].data)
                    found = zlib.crc32(flat[place].data, zlib.crc32(self._digests[row]))
                    if read != flat[place].nbytes or found != self._crc[row]:
                        raise damaged(self._files[number], "a row fails its checksum")
        return out

    def _open(self, number: int) -> io.FileIO:
        try:
            return io.FileIO(self._files[number])
        except FileNotFoundError as error:
            raise FormatError(
                f"{self._files[number]} is gone: another process has merged or removed it.",
                "Run the same command again.",
            ) from error


def _read_layout(path: Path, spec_json: str) -> _Layout:
    with open_shard(path, spec_json) as file:
        features: Any = file["features"]
        shape, dtype = features.shape[1:], features.dtype
        row_bytes = int(np.prod(shape)) * dtype.itemsize
        step = features.chunks[0]
        if features.chunks[1:] != shape:
            raise damaged(path, f"rows are spread over chunks of shape {features.chunks}")
        offset = np.empty(len(features), np.int64)
        for first in range(0, len(features), step):
            chunk = features.id.get_chunk_info_by_coord((first, *[0] * len(shape)))
            rows = np.arange(min(step, len(features) - first))
            if chunk.byte_offset is None or chunk.size < step * row_bytes:
                raise damaged(path, "a chunk is missing")
            offset[first : first + step] = chunk.byte_offset + rows * row_bytes
        crc, first_digest = file["crc"][:], file["digest"][:1].tobytes()
    # HDF5 before 1.14 counts from the end of the user block, later ones from the file's beginning.
    if len(crc) and _crc_at(path, offset[0], row_bytes, first_digest) != crc[0]:
        offset += USER_BLOCK
    return _Layout(crc, offset, shape, dtype)


def _crc_at(path: Path, offset: int, size: int, digest: bytes) -> int:
    with open(path, "rb") as file:
        file.seek(offset)
        return zlib.crc32(file.read(size), zlib.crc32(digest))
