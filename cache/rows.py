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

from ..errors import DataError, FormatError
from .hdf5 import USER_BLOCK, damaged
from .shard import digest_bytes, open_shard
from .store import FeatureStore


class _Layout(NamedTuple):
    """Where the n rows of one shard are."""

    digests: list[bytes]
    crc: np.ndarray  # (n,) uint32
    offset: np.ndarray  # (n,) int64, in the file
    shape: tuple[int, ...]  # of one row
    dtype: np.dtype


class RowReader:
    """Random access to the features of a fixed list of images.

    Memory does not grow with the features: only places are kept, about 60 bytes an image.

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
        wanted = set(self._digests)
        places: dict[bytes, tuple[int, int, int]] = {}
        self._files: list[Path] = []
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.float32)
        for path, layout in store.sweep(lambda shard: _read_layout(shard, store.spec_json)):
            self.shape, self.dtype = layout.shape, layout.dtype
            self._files.append(path)
            for digest, offset, crc in zip(layout.digests, layout.offset, layout.crc, strict=True):
                if digest in wanted:
                    places[digest] = (len(self._files) - 1, int(offset), int(crc))
        missing = len(wanted) - len(places)
        if missing:
            raise DataError(
                f"{missing} of {len(wanted)} images have no features of this spec.",
                "Run the same command again: it computes only what is missing.",
            )
        self._places = [places[digest] for digest in self._digests]

    def __len__(self) -> int:
        return len(self._places)

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
            in_file.setdefault(self._places[row][0], []).append(place)
        for number, places in in_file.items():
            with self._open(number) as file:
                for place in places:
                    row = rows[place]
                    _, offset, crc = self._places[row]
                    file.seek(offset)
                    read = file.readinto(flat[place].data)
                    found = zlib.crc32(flat[place].data, zlib.crc32(self._digests[row]))
                    if read != flat[place].nbytes or found != crc:
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
        digests, crc = digest_bytes(file["digest"][:]), file["crc"][:]
    # HDF5 before 1.14 counts from the end of the user block, later ones from the file's beginning.
    if len(digests) and _crc_at(path, offset[0], row_bytes, digests[0]) != crc[0]:
        offset += USER_BLOCK
    return _Layout(digests, crc, offset, shape, dtype)


def _crc_at(path: Path, offset: int, size: int, digest: bytes) -> int:
    with open(path, "rb") as file:
        file.seek(offset)
        return zlib.crc32(file.read(size), zlib.crc32(digest))
