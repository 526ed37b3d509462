"""One HDF5 file of features: built in memory, written once, checked whenever it is read.

Layout, format 1 (n rows)::

    digest    (n, 32) uint8      SHA-256 of the image file's bytes
    features  (n, …)  float32 or float16, chunked, Fletcher-32
    crc       (n,)    uint32     CRC-32 over the row's digest and feature bytes
    attributes of the file: format, version, spec, fingerprint, tlx, created
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from .._version import __version__
from ..errors import FormatError
from .files import storage_error
from .identity import fingerprint_of

FORMAT = "tlx-features"
VERSION = 1
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
    flat = np.ascontiguousarray(features).reshape(len(features), -1).view(np.uint8)
    return np.array(
        [zlib.crc32(row.data, zlib.crc32(id_.data)) for id_, row in zip(digests, flat, strict=True)],
        dtype=np.uint32,
    )


def shard_bytes(spec_json: str, digests: np.ndarray, features: np.ndarray) -> bytes:
    """Return the bytes of a shard file, built in memory.

    Parameters
    ----------
    spec_json : str
        Canonical JSON of the spec.
    digests : ndarray of shape (n, 32), uint8
    features : ndarray of shape (n, …), float32 or float16
    """
    row_bytes = max(1, features[0].nbytes)
    chunk_rows = min(len(features), max(1, _CHUNK_BYTES // row_bytes))
    attributes = {
        "format": FORMAT,
        "version": VERSION,
        "spec": spec_json,
        "fingerprint": fingerprint_of(spec_json),
        "tlx": __version__,
        "created": time.time(),
    }
    with memory_file() as file:
        file.attrs.update(attributes)
        file.create_dataset("digest", data=digests, dtype=np.uint8)
        file.create_dataset(
            "features", data=features, chunks=(chunk_rows, *features.shape[1:]), fletcher32=True
        )
        file.create_dataset("crc", data=row_crcs(digests, features))
        return file_image(file)


def read_digests(path: Path, spec_json: str | None = None) -> np.ndarray:
    """Return the digests of a shard, shape (n, 32) uint8, with its header checked."""
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
        Which rows, in increasing order; all of them by default.

    Raises
    ------
    FormatError
        If the shard is damaged or foreign: header, shape, checksum, or a value not finite.
    FileNotFoundError
        If it is gone, as when another process merged it into a larger one.
    """
    with open_shard(path, spec_json) as file:
        digests, features, crc = file["digest"][:], _read_features(file, rows), file["crc"][:]
    if rows is not None:
        digests, crc = digests[rows], crc[rows]
    wrong = np.flatnonzero(row_crcs(digests, features) != crc)
    if len(wrong):
        raise _damaged(path, f"{len(wrong)} of {len(crc)} rows fail their checksum")
    if not np.isfinite(features).all():
        raise _damaged(path, "a feature is not a finite number")
    return Rows(digests, features)


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

    Everything HDF5 says against the content becomes `FormatError`; what the system says of the file
    (no permission, an input/output error) becomes `StorageError`, because the file may be good.
    """
    try:
        size = os.path.getsize(path)
        with h5py.File(path, "r", locking=False) as file:
            _check_header(path, file, size, spec_json)
            yield file
    except FileNotFoundError:
        raise
    except OSError as error:
        if isinstance(error, FormatError) or error.errno is None:
            raise _damaged(path, str(error)) from error
        raise storage_error(error, path) from error
    except (KeyError, RuntimeError, TypeError, ValueError, UnicodeDecodeError) as error:
        if isinstance(error, FormatError):
            raise
        raise _damaged(path, str(error)) from error


@contextmanager
def memory_file() -> Iterator[Any]:
    """Open a new HDF5 file that lives in memory only."""
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        yield file


def file_image(file: Any) -> bytes:
    """Return the bytes that `file` would have on disk."""
    file.flush()
    return file.id.get_file_image()


def checked_dataset(path: Path, file: Any, name: str, size: int) -> Any:
    """Return dataset `name` of `file` if its data can only be inside the file itself.

    Links to other files, external storage and virtual data sets can read other files of the user,
    and a declared shape far above the file's size can exhaust the memory: all are refused. tlx
    compresses nothing, so no honest data set is larger than its file.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise _damaged(path, f"no plain data set {name!r} inside the file")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise _damaged(path, f"{name!r} is not a data set")
    if dataset.is_virtual or dataset.external:
        raise _damaged(path, f"{name!r} refers to other files")
    if dataset.nbytes > size:
        raise _damaged(path, f"{name!r} claims {dataset.nbytes:,} bytes in a file of {size:,}")
    return dataset


def _check_header(path: Path, file: Any, size: int, spec_json: str | None) -> None:
    if file.attrs.get("format") != FORMAT:
        raise _damaged(path, "not a feature shard")
    version = int(file.attrs["version"])
    if version != VERSION:
        raise FormatError(
            f"{path} has format {version}, and this tlx reads format {VERSION}.",
            "Run: pip install --upgrade tlx-vision",
        )
    spec = file.attrs["spec"]
    if not isinstance(spec, str) or fingerprint_of(spec) != file.attrs["fingerprint"]:
        raise _damaged(path, "its spec does not have its fingerprint")
    if spec_json is not None and spec != spec_json:
        raise _damaged(path, "it holds features of another spec")
    digest = checked_dataset(path, file, "digest", size)
    features = checked_dataset(path, file, "features", size)
    crc = checked_dataset(path, file, "crc", size)
    n = len(digest)
    if digest.shape != (n, 32) or digest.dtype != np.uint8:
        raise _damaged(path, f"digests of shape {digest.shape} {digest.dtype}")
    if features.ndim < 2 or len(features) != n or features.dtype not in (np.float32, np.float16):
        raise _damaged(path, f"features of shape {features.shape} {features.dtype}")
    if crc.shape != (n,) or crc.dtype != np.uint32:
        raise _damaged(path, f"checksums of shape {crc.shape} {crc.dtype}")


def _read_features(file: Any, rows: np.ndarray | None) -> np.ndarray:
    dataset = file["features"]
    if rows is None or 2 * len(rows) >= len(dataset):  # one sweep beats many small reads
        features = dataset[:]
        return features if rows is None else features[rows]
    return dataset[rows]


def _damaged(path: Path, why: str) -> FormatError:
    return FormatError(
        f"{path} is damaged or foreign: {why}.",
        "Run tlx embed again: its images are embedded anew.",
    )
