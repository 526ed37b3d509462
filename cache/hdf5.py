"""HDF5 files that are built in memory, and checked before HDF5 is let near them.

libhdf5 trusts a file's structure: one flipped bit in it can give wrong values, a crash or a loop
without end. So each file starts with a user block, a place that HDF5 leaves to the application,
holding four lines of text filled up with zeros::

    tlx-features 1          kind and format version
    size 2911788            bytes of the whole file
    head 39424              bytes up to which the hash goes
    sha256 8c6f5f51…        SHA-256 of the bytes from 512 to head

What follows the head, if anything does, is the chunks of one data set and nothing else; these
carry checksums of their own. A hash of the whole file was rejected: to list which images a store
has would then mean reading every feature.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from ..errors import DataError, FormatError
from .files import atomic_file, open_binary, storage_error

USER_BLOCK = 512
MAX_BYTES = 2**30  # a shard has 4 MiB; more than this is an attack
_META_BLOCK = 16 * 1024  # keeps the structure in one piece, in front of the chunks
_ATTRIBUTE_BYTES = 64 * 1024
_SLICE = 2**16  # rows of a long column that are dealt with at a time
_CODING = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())  # as os.fsencode does


class NewerFormatError(FormatError):
    """A file that a newer tlx wrote: good, but not for this one."""


@contextmanager
def memory_file(user_block: int = 0) -> Iterator[Any]:
    """Open a new HDF5 file that lives in memory only."""
    with h5py.File(
        "memory.h5",
        "w",
        driver="core",
        backing_store=False,
        userblock_size=user_block,
        meta_block_size=_META_BLOCK if user_block else 2048,
    ) as file:
        yield file


def file_image(file: Any) -> bytes:
    """Return the bytes that `file` would have on disk, without its user block."""
    file.flush()
    return file.id.get_file_image()


@contextmanager
def open_image(data: bytes) -> Iterator[Any]:
    """Open the HDF5 file whose bytes these are: what was hashed is what is parsed.

    Raises
    ------
    OSError
        If they are no HDF5 file.
    """
    if not data.startswith(b"\x89HDF\r\n\x1a\n"):  # h5py would say "not a file id"
        raise OSError("it is no HDF5 file")
    with h5py.File(h5py.h5f.open_file_image(data)) as file:
        yield file


def sealed_image(file: Any, kind: str, version: int, body: Any = None) -> bytes:
    """Return the bytes of `file` with its user block filled in.

    Parameters
    ----------
    file : h5py.File
        Made by ``memory_file(USER_BLOCK)``.
    kind : str
        What the file is.
    version : int
        Format version.
    body : h5py.Dataset, optional
        A chunked data set written last, with checksums of its own, to be left out of the hash.

    Raises
    ------
    DataError
        If it would be larger than a reader accepts.
    """
    image = memoryview(file_image(file))
    size = USER_BLOCK + len(image)
    _check_size(size, MAX_BYTES)
    head = size
    if body is not None:
        chunks = [body.id.get_chunk_info(i) for i in range(body.id.get_num_chunks())]
        start = min((chunk.byte_offset for chunk in chunks), default=size)
        if start + sum(chunk.size for chunk in chunks) == size:  # nothing else is between them
            head = start
    digest = hashlib.sha256(image[: head - USER_BLOCK]).hexdigest()
    return b"".join((_block(kind, version, size, head, digest), image))


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise DataError(
            f"one file of {size:,} bytes would be needed, at most {limit:,} are allowed.",
            "Use a smaller image size or layer, or split the data set into several.",
        )


@contextmanager
def sealed_file(path: Path, kind: str, version: int, limit: int) -> Iterator[Any]:
    """Write a whole file piece by piece, however large, with its user block filled in at the end.

    Parameters
    ----------
    path : Path
        It is replaced whole; see `tlx.cache.files.write_atomic`.
    kind, version
        See `sealed_image`.
    limit : int
        What `open_checked` is told to accept, in bytes.

    Raises
    ------
    DataError
        If it becomes larger than that.
    StorageError
        If it cannot be written.
    """
    with atomic_file(path) as raw:
        watched = _Watched(raw)
        try:
            with h5py.File(
                watched, "w", userblock_size=USER_BLOCK, meta_block_size=_META_BLOCK
            ) as file:
                yield file
                file.flush()
        except RuntimeError as error:
            raise watched.error or error from error
        size = raw.seek(0, os.SEEK_END)
        _check_size(size, limit)
        raw.seek(USER_BLOCK)
        digest = _hash(raw, size - USER_BLOCK)
        raw.seek(0)
        raw.write(_block(kind, version, size, size, digest))


class _Watched:
    """A file that remembers what went wrong: of a write that failed HDF5 does not always tell."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: memoryview) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def write_column(file: Any, name: str, values: np.ndarray) -> None:
    """Write a data set in pieces: of a column that is a field of records no copy is made."""
    column = file.create_dataset(name, values.shape, values.dtype)
    for start in range(0, len(values), _SLICE):
        column[start : start + _SLICE] = values[start : start + _SLICE]


@contextmanager
def open_checked(path: Path, kind: str, version: int, limit: int | None = None) -> Iterator[Any]:
    """Open a file for reading after its user block has vouched for its structure.

    Whatever is said against the content becomes `FormatError`; what the system says of the file (no
    permission, an input/output error) becomes `StorageError`, because the file may be good.

    Parameters
    ----------
    path : Path
    kind : str
    version : int
    limit : int, optional
        Larger files are refused; by default those above `MAX_BYTES`.

    Raises
    ------
    FormatError
        If the file is damaged or foreign.
    NewerFormatError
        If its format version is above `version`.
    FileNotFoundError
        If it is gone, as when another process merged it into a larger one.
    StorageError
        If the system refuses to read it.
    """
    try:
        _check_head(path, kind, version, limit or MAX_BYTES)
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (FormatError, FileNotFoundError):
        raise
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise _translated(error, path) from error


def _translated(error: Exception, path: Path) -> Exception:
    """Return what `error`, met while `path` was read, means for the caller."""
    number = getattr(error, "errno", None)
    # HDF5 gives no number if the file goes after it was opened; ESTALE says the same on a network.
    if number == errno.ESTALE or not os.path.lexists(path):
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if isinstance(error, OSError) and number is not None:
        return storage_error(error, path, reading=True)
    return damaged(path, _one_line(error))


def checked_dataset(path: Path, file: Any, name: str, size: int) -> Any:
    """Return data set `name` of `file` if its values can only come from the file itself.

    Links, external storage and virtual data sets can read other files of the user; a declared shape
    or chunk far above the file's size, or a compressed one, can exhaust the memory. tlx compresses
    nothing, so no honest data set is larger than its file. All others are refused.
    """
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise damaged(path, f"no plain data set {name!r} inside the file")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise damaged(path, f"{name!r} is not a data set")
    properties = dataset.id.get_create_plist()
    layout, dtype, shape = properties.get_layout(), dataset.dtype, dataset.shape
    if layout == h5py.h5d.VIRTUAL or properties.get_external_count():
        raise damaged(path, f"{name!r} refers to other files")
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    if filters - {h5py.h5z.FILTER_FLETCHER32}:
        raise damaged(path, f"{name!r} is stored through a filter")
    if shape is None:
        raise damaged(path, f"{name!r} is empty")
    if dtype.hasobject:
        raise damaged(path, f"{name!r} holds values of varying length or references")
    chunk = properties.get_chunk() if layout == h5py.h5d.CHUNKED else ()
    claimed = max(math.prod(shape), math.prod(chunk)) * dtype.itemsize
    if claimed > size:
        raise damaged(path, f"{name!r} claims {claimed:,} bytes in a file of {size:,}")
    return dataset


def read_column(path: Path, file: Any, name: str, dtype: Any, shape: Sequence[int]) -> np.ndarray:
    """Return a whole data set if it has this type and shape; -1 stands for any length."""
    return checked_column(path, file, name, dtype, shape)[()]


def read_pieces(
    path: Path, file: Any, name: str, dtype: Any, shape: Sequence[int]
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of a data set and what they hold, piece by piece; see `read_column`."""
    column = checked_column(path, file, name, dtype, shape)
    for start in range(0, len(column), _SLICE):
        rows = slice(start, start + _SLICE)
        yield rows, column[rows]


def checked_column(path: Path, file: Any, name: str, dtype: Any, shape: Sequence[int]) -> Any:
    """Return a data set, not read yet, if it has this type and shape; -1 stands for any length."""
    dataset = checked_dataset(path, file, name, os.path.getsize(path))
    wanted, found = np.dtype(dtype), dataset.dtype
    lengths_fit = len(dataset.shape) == len(shape) and all(
        w in (-1, n) for w, n in zip(shape, dataset.shape, strict=True)
    )
    if not (lengths_fit and (found == wanted or (wanted.kind == found.kind == "S"))):
        raise damaged(path, f"{name!r} has shape {dataset.shape} and type {found}")
    return dataset


def read_attribute(path: Path, file: Any, name: str) -> Any:
    """Return one scalar attribute, looking at its type and size first."""
    if name not in file.attrs:
        raise damaged(path, f"no attribute {name!r}")
    attribute = file.attrs.get_id(name)
    text = h5py.check_string_dtype(attribute.dtype) is not None
    if attribute.shape != () or not (text or attribute.dtype.kind in "iuf"):
        raise damaged(path, f"attribute {name!r} is no single number or text")
    if attribute.get_storage_size() > _ATTRIBUTE_BYTES:
        raise damaged(path, f"attribute {name!r} is too long")
    return file.attrs[name]


def text_array(texts: Iterable[str]) -> np.ndarray:
    """Return `texts` as UTF-8 of one fixed length, padded with zeros.

    HDF5's strings of variable length were rejected: in a hostile file a few bytes can stand for the
    same huge string again and again, and they are ten times slower to read. Names that are not
    UTF-8 keep their very bytes.
    """
    values = [text.encode(*_CODING) for text in texts]
    length = max(map(len, values), default=1)
    return np.array(values, dtype=h5py.string_dtype("utf-8", max(1, length)))


def texts_of(values: np.ndarray) -> list[str]:
    """Return the strings of `text_array`; what occurs again and again is held once in a while."""
    texts: list[str] = []
    for start in range(0, len(values), _SLICE):
        part = values[start : start + _SLICE].tolist()
        text_of = {value: value.decode(*_CODING) for value in set(part)}
        texts += [text_of[value] for value in part]
    return texts


def damaged(path: Path, why: str, remedy: str = "") -> FormatError:
    """Return the error that says `path` is not to be trusted."""
    return FormatError(
        f"{path} is damaged or foreign: {why}.",
        remedy or "Run tlx embed again: its images are embedded anew.",
    )


def _check_head(path: Path, kind: str, version: int, limit: int) -> None:
    with open_binary(path) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise damaged(path, "no regular file")
        said = _parse_block(path, file.read(USER_BLOCK), kind, version)
        if status.st_size != said["size"]:
            raise damaged(path, f"{status.st_size:,} bytes long, it should be {said['size']:,}")
        if not USER_BLOCK <= said["head"] <= said["size"] <= limit:
            raise damaged(path, f"its head or its size of {said['size']:,} bytes cannot be")
        if _hash(file, said["head"] - USER_BLOCK) != said["sha256"]:
            raise damaged(path, "its head fails the checksum")


def _hash(file: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    while size > 0 and (piece := file.read(min(size, 2**20))):
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def _parse_block(path: Path, block: bytes, kind: str, version: int) -> dict[str, Any]:
    lines = block.rstrip(b"\0").decode("ascii", "replace").splitlines()
    words = [line.split(" ") for line in lines]
    if len(block) != USER_BLOCK or not words or len(words[0]) != 2 or words[0][0] != kind:
        raise damaged(path, f"it does not begin with {kind!r}")
    found = int(words[0][1]) if re.fullmatch(r"[1-9]\d{0,8}", words[0][1]) else 0
    if not 1 <= found <= version:
        if found > version:
            raise NewerFormatError(
                f"{path} has format {found}, and this tlx reads format {version}.",
                "Run: pip install --upgrade tlx-vision",
            )
        raise damaged(path, f"unknown format {words[0][1][:20]!r}")
    try:
        size, head = int(words[1][1]), int(words[2][1])
        if block == _block(kind, found, size, head, words[3][1]):
            return {"size": size, "head": head, "sha256": words[3][1]}
    except (IndexError, ValueError):
        pass
    raise damaged(path, "its first 512 bytes are not as they should be")


def _block(kind: str, version: int, size: int, head: int, sha256: str) -> bytes:
    text = f"{kind} {version}\nsize {size}\nhead {head}\nsha256 {sha256}\n"
    return text.encode("ascii", "replace").ljust(USER_BLOCK, b"\0")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
