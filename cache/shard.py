"""One HDF5 file of features: built in memory, written once, checked whenever it is read.

Layout, format 1 (n rows), after the user block described in `tlx.cache.hdf5`::

    digest    (n, 32) uint8      SHA-256 of the image file's bytes
    crc       (n,)    uint32     CRC-32 over the row's digest and feature bytes
    features  (n, …)  float32 or float16, chunked, Fletcher-32
    attributes of the file: format, version, spec, fingerprint, tlx, created

The hash in the user block covers all but the chunks of ``features``; Fletcher-32 and the CRC of
each row cover those.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._version import __version__
from .hdf5 import (
    USER_BLOCK,
    checked_column,
    checked_dataset,
    damaged,
    file_image,
    memory_file,
    open_checked,
    read_attribute,
    sealed_image,
)
from .identity import canonical_json, fingerprint_of

__all__ = ["Rows", "checked_dataset", "file_image", "memory_file", "read_rows", "shard_bytes"]

FORMAT = "tlx-features"
VERSION = 1  # 1: the first; there is nothing older to upgrade from
_CHUNK_BYTES = 256 * 1024


class Rows(NamedTuple):
    """Rows of one shard.

    Attributes
    ----------
    digests : ndarray of shape (n, 32), uint8
    features : ndarray of shape (n, …), float32 or float16
    """

    digests: np.ndarray
    features: np.ndarray


def row_crcs(digests: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Return the CRC-32 of each row's digest followed by its feature bytes, shape (n,) uint32."""
    step = features[:1].nbytes
    rows = np.ascontiguousarray(features).reshape(-1).view(np.uint8).data
    starts = range(0, len(features) * step, step or 1)
    return np.array(
        [
            zlib.crc32(rows[start : start + step], zlib.crc32(digest))
            for digest, start in zip(digest_bytes(digests), starts, strict=True)
        ],
        dtype=np.uint32,
    )


def shard_bytes(spec_json: str, digests: np.ndarray, features: np.ndarray) -> bytes:
    """Return the bytes of a shard file, built in memory.

    Parameters
    ----------
    spec_json : str
        Canonical JSON of the spec.
    digests : ndarray of shape (n, 32), uint8
        At least one.
    features : ndarray of shape (n, …), float32 or float16
    """
    row_bytes = max(1, features[0].nbytes)
    chunk_rows = min(len(features), max(1, _CHUNK_BYTES // row_bytes))
    digests = np.ascontiguousarray(digests, np.uint8)
    attributes = {
        "format": FORMAT,
        "version": VERSION,
        "spec": spec_json,
        "fingerprint": fingerprint_of(spec_json),
        "tlx": __version__,
        "created": time.time(),
    }
    with memory_file(USER_BLOCK) as file:
        file.attrs.update(attributes)
        file.create_dataset("digest", data=digests)
        file.create_dataset("crc", data=row_crcs(digests, features))
        body = file.create_dataset(
            "features", data=features, chunks=(chunk_rows, *features.shape[1:]), fletcher32=True
        )
        return sealed_image(file, FORMAT, VERSION, body)


def read_head(path: Path, spec_json: str | None = None) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return digests, (n, 32) uint8, and the shape (n, …) of the features, which are not read."""
    with open_shard(path, spec_json) as file:
        return file["digest"][:], file["features"].shape


def read_digests(path: Path, spec_json: str | None = None) -> np.ndarray:
    """Return the digests of a shard, shape (n, 32) uint8, without touching its features."""
    with open_shard(path, spec_json) as file:
        return file["digest"][:]


def read_rows(path: Path, spec_json: str | None = None, rows: np.ndarray | None = None) -> Rows:
    """Return rows of a shard, every one of them checked.

    Parameters
    ----------
    path : Path
    spec_json : str, optional
        The spec that the shard must have.
    rows : ndarray of shape (m,), int, optional
        Which rows to read, in any order; they may repeat. All by default.

    Raises
    ------
    FormatError
        If the shard is damaged or foreign: header, shape, checksum, or a value not finite.
    FileNotFoundError
        If it is gone, as when another process merged it into a larger one.
    """
    with open_shard(path, spec_json) as file:
        digests, crc = file["digest"][:], file["crc"][:]
        if rows is None:
            features = file["features"][:]
        else:
            digests, crc, features = digests[rows], crc[rows], _read_features(file, rows)
    wrong = np.flatnonzero(row_crcs(digests, features) != crc)
    if len(wrong):
        raise damaged(path, f"{len(wrong)} of {len(crc)} rows fail their checksum")
    if not np.isfinite(features).all():
        raise damaged(path, "a feature is not a finite number")
    return Rows(digests, features)


def digest_bytes(digests: np.ndarray) -> list[bytes]:
    """Return the rows of an (n, 32) array as n bytes objects."""
    flat = np.ascontiguousarray(digests).tobytes()
    return [flat[i : i + 32] for i in range(0, len(flat), 32)]


def read_shape(path: Path, spec_json: str | None = None) -> tuple[int, ...]:
    """Return the shape (n, …) of a shard's features, with its header checked."""
    with open_shard(path, spec_json) as file:
        return file["features"].shape


def read_spec(path: Path) -> str:
    """Return the canonical spec JSON of a shard, with its header checked."""
    with open_shard(path) as file:
        return str(file.attrs["spec"])


@contextmanager
def open_shard(path: Path, spec_json: str | None = None) -> Iterator[Any]:
    """Open a shard for reading after checking that it is what it says.

    See `tlx.cache.hdf5.open_checked` for the errors.
    """
    with open_checked(path, FORMAT, VERSION) as file:
        _check_header(path, file, spec_json)
        yield file


def _check_header(path: Path, file: Any, spec_json: str | None) -> None:
    spec = read_attribute(path, file, "spec")
    fingerprint = read_attribute(path, file, "fingerprint")
    if not isinstance(spec, str) or not spec.isascii() or fingerprint_of(spec) != fingerprint:
        raise damaged(path, "its spec does not have its fingerprint")
    fields = json.loads(spec)
    if not isinstance(fields, dict) or canonical_json(fields) != spec:
        raise damaged(path, "its spec is no canonical JSON object")
    if spec_json is not None and spec != spec_json:
        raise damaged(path, "it holds features of another spec")
    n = len(checked_column(path, file, "digest", np.uint8, (-1, 32)))
    checked_column(path, file, "crc", np.uint32, (n,))
    features = checked_dataset(path, file, "features", os.path.getsize(path))
    dtype = features.dtype
    if features.ndim < 2 or len(features) != n or dtype not in (np.float32, np.float16):
        raise damaged(path, f"features of shape {features.shape} {dtype}")
    if dtype != fields.get("dtype", dtype):
        raise damaged(path, f"features stored as {dtype}, which is not what its spec says")


def _read_features(file: Any, rows: np.ndarray) -> np.ndarray:
    """Read whole chunks and keep the rows asked for: the checksum needs the whole chunk anyway."""
    dataset = file["features"]
    out = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
    step = dataset.chunks[0] if dataset.chunks else len(dataset)
    chunk_of = rows // max(1, step)
    for chunk in np.unique(chunk_of):
        here = chunk_of == chunk
        start = int(chunk) * step
        out[here] = dataset[start : start + step][rows[here] - start]
    return out
