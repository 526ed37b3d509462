"""Images in zip and tar archives: listed and read, and never unpacked to files.

Names in an archive are names only. A compressed tar can only be read from its start: it is unpacked
once, whole, into a file without a name, which the system removes when it is closed.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import tarfile
import tempfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Protocol

from ..errors import DataError, ImageError, TlxError
from .headers import MAX_BYTES
from .trouble import FetchError

_SUFFIX = re.compile(r"\.(zip|tar|tar\.gz|tgz)(?=/|$)", re.IGNORECASE)
MOST_TIMES = 100  # that a tar may be larger than when compressed: photos are 1 to 3 times
_PIECE = 2**20
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, ValueError, NotImplementedError, RuntimeError, OverflowError),
)

Listed = tuple[str, int, int]
"""Path, size and stamp of a file that is listed."""


class Archive(Protocol):
    """An archive that is open.

    Attributes
    ----------
    versions : dict of str to (int, int)
        Size and stamp of its files by their paths: as it has them, without a leading ``./``.
    """

    versions: dict[str, tuple[int, int]]

    def read(self, path: str) -> bytes:
        """Return what a file holds.

        Raises
        ------
        ImageError
            If it is damaged, encrypted or too large.
        FileNotFoundError
            If there is none of that name.
        """
        ...


def split_archive(path: str) -> Iterator[tuple[str, str]]:
    """Yield where a path may lead through an archive: its path, and the path inside.

    Examples
    --------
    >>> list(split_archive("data/photos.zip/cats/1.png")), list(split_archive("data/cats/1.png"))
    ([('data/photos.zip', 'cats/1.png')], [])
    """
    # The host of a URL is none, even if it is called photos.zip.
    start = path.find("/", path.find("://") + 3) if "://" in path else 0
    for found in _SUFFIX.finditer(path, max(start, 0)) if start >= 0 else ():
        yield path[: found.end()], path[found.end() :].strip("/")


def local_archive(path: str) -> tuple[str, str] | None:
    """Return the file that is the archive on a path of this machine, and the path inside."""
    path = path.replace(os.sep, "/")
    for archive, inside in split_archive(path):
        if os.path.isfile(archive):
            return archive, inside
    return None


def open_archive(stream: BinaryIO, name: str, version: int = 0) -> Archive:
    """Open an archive.

    Parameters
    ----------
    stream : binary file
        Can seek. It is closed with the archive.
    name : str
        What errors call it.
    version : int, default=0
        Stands for what it holds now: another one, other stamps of its files where those have no
        checksum; -1 if that is not known, and then neither are those stamps.

    Raises
    ------
    DataError
        If it is damaged or none.
    FetchError
        If `stream` raises it.
    """
    try:
        if name.lower().endswith(".zip"):
            return _Zip(stream)
        return _Tar(stream, name, version)
    except TlxError:
        stream.close()
        raise
    except _BROKEN as error:
        stream.close()
        # zipfile takes any OSError for damage
        if isinstance(trouble := error.__cause__ or error.__context__, FetchError):
            raise trouble from None
        raise DataError(
            f"{name} cannot be read as an archive: it is damaged, or none.",
            "tlx reads .zip, .tar, .tar.gz and .tgz. Get it again, or unpack it.",
        ) from error
    except BaseException:
        stream.close()
        raise


def too_large(size: int) -> str:
    """Return why a file of so many bytes is not read, "" if it is."""
    return f"file of {size / 2**20:.0f} MiB, at most {MAX_BYTES >> 20}" if size > MAX_BYTES else ""


class _Zip:
    def __init__(self, stream: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(stream)
        weakref.finalize(self, stream.close)
        self._files = {_plain(m.filename): m for m in self._zip.infolist() if not m.is_dir()}
        self.versions = {
            path: (m.file_size, stamp_of(f"{m.CRC} {m.file_size} {m.date_time}"))
            for path, m in self._files.items()
        }

    def read(self, path: str) -> bytes:
        member = _member(self._files, path)
        if refused := too_large(member.file_size):
            raise ImageError(refused)
        if member.flag_bits & 1:
            raise ImageError("encrypted in its archive")
        try:
            with self._zip.open(member) as file:
                return file.read(MAX_BYTES + 1)
        except _BROKEN as error:
            raise ImageError("damaged in its archive") from error


class _Tar:
    def __init__(self, stream: BinaryIO, name: str, version: int) -> None:
        self._lock = threading.Lock()
        if not name.lower().endswith(".tar"):
            packed, stream = stream, _unpacked(stream, name)
            packed.close()
        self._stream = stream
        weakref.finalize(self, stream.close)
        self._places: dict[str, tuple[int, int]] = {}  # where a file starts, and its size
        members: Any
        with tarfile.open(fileobj=stream, mode="r:") as members:
            for member in members:
                if member.isreg() and not member.issparse():
                    self._places[_plain(member.name)] = member.offset_data, member.size
                members.members = []  # tarfile would keep them all
        self.versions = {
            path: (size, -1 if version == -1 else stamp_of(f"{version} {start} {size}"))
            for path, (start, size) in self._places.items()
        }

    def read(self, path: str) -> bytes:
        start, size = _member(self._places, path)
        if refused := too_large(size):
            raise ImageError(refused)
        with self._lock:
            self._stream.seek(start)
            data = self._stream.read(size)
        if len(data) < size:
            raise ImageError("damaged in its archive")
        return data


def _unpacked(stream: BinaryIO, name: str) -> BinaryIO:
    """Return what a gzip file holds, in a file without a name."""
    most = MOST_TIMES * max(stream.seek(0, os.SEEK_END), _PIECE)
    stream.seek(0)
    whole: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the archive
    try:
        with gzip.GzipFile(fileobj=stream) as packed:
            while piece := packed.read(_PIECE):
                if whole.tell() + len(piece) > most:
                    raise DataError(
                        f"{name} unpacks to more than {MOST_TIMES} times its size: no photos do.",
                        "If it is harmless, unpack it yourself.",
                    )
                whole.write(piece)
        whole.seek(0)
        return whole
    except BaseException:
        whole.close()
        raise


def _member(files: dict[str, Any], path: str) -> Any:
    found = files.get(path)
    if found is None:
        raise FileNotFoundError(2, "not in its archive", path)
    return found


def _plain(name: str) -> str:
    return name.removeprefix("./")


def stamp_of(said: str) -> int:
    """Return a number, 0 or more and below 2^63, that stands for what is said of a version."""
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big") >> 1
