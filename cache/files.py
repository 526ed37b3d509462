"""The one function that writes files, and what keeps a crash from leaving anything half done."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError

_TEMPORARY = re.compile(r"^\..+\.(?P<host>[^.]+)\.(?P<pid>\d+)\.(?P<start>\d+)\.[0-9a-f]{8}\.tmp$")
_GRACE = 24 * 3600  # seconds after which a temporary is dead whose process cannot be asked for
_BINARY = getattr(os, "O_BINARY", 0)  # without it Windows ends a file at its first Ctrl-Z

PIDS_CAN_BE_ASKED = os.name != "nt"  # there, os.kill(pid, 0) is a Ctrl-C to that process


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` so that a crash at any moment leaves the old file or the new one.

    The bytes go to an exclusive temporary sibling, are flushed to the disk, and take the final name
    by a rename, which the folder's own flush makes durable. Without the first flush a power cut can
    leave a named file without its bytes; without the second it can lose the name. After an error
    `path` is as it was; only if that very last flush fails can it have the new content already.

    Parameters
    ----------
    path : Path
        The final name. Its folder is made when it is missing.
    data : bytes or memoryview
        The whole content.

    Raises
    ------
    StorageError
        If the disk is full, the folder read-only, or the like. Nothing is left behind.
    """
    with atomic_file(path, len(data)) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: Path, size: int = 0) -> Iterator[BinaryIO]:
    """Open a file of the workspace, to be written piece by piece; see `write_atomic`.

    Parameters
    ----------
    path : Path
    size : int, default=0
        How many bytes it will have, for the message.
    """
    try:
        with _atomic_file(path) as file:
            yield file
    except StorageError:  # of what is read for it
        raise
    except OSError as error:
        raise storage_error(error, path, size) from error


@contextlib.contextmanager
def _atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open the file that `write_atomic` tells of, and give it its name at the end."""
    # Only part of the name: the whole with all that follows could be longer than a name may be.
    temporary = path.with_name(f".{path.name[:32]}.{owner()}.{secrets.token_hex(4)}.tmp")
    make_folder(path.parent)
    try:
        with open(temporary, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)


def write_output(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that the user named, whole or not at all; see `write_atomic`.

    Raises
    ------
    StorageError
        If it cannot be written, naming the file. An older one is then still there.
    """
    with output_file(path, len(data)) as file:
        file.write(data)


@contextlib.contextmanager
def output_file(path: str | os.PathLike[str], size: int = 0) -> Iterator[BinaryIO]:
    """Open a file that the user named, to be written piece by piece; see `write_output`.

    Parameters
    ----------
    path : path
    size : int, default=0
        How many bytes it will have, if that is known.
    """
    target = Path(path).absolute()
    try:
        with _atomic_file(target) as file:
            yield file
    except StorageError:  # of what is read for it
        raise
    except OSError as error:
        told = storage_error(error, target, size)
        if told.cause.startswith("no space"):
            raise told from error
        raise StorageError(
            f"{path} cannot be written: {error.strerror or told.cause}.",
            "Name another file, in a folder that you may write to.",
        ) from error


def open_binary(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading its bytes; a pipe that nobody writes to is no reason to wait."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    except ValueError as error:  # a NUL character
        raise OSError(errno.EINVAL, "not a file name", os.fspath(path)) from error
    return open(descriptor, "rb")


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it, so that a power cut cannot take a new one away again."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        fsync_folder(new.parent)
    folder.mkdir(exist_ok=True)  # says so if a file stands in its place


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the system can."""
    if os.name == "nt":  # a folder cannot be opened there, and renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY | _BINARY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


def storage_error(
    error: OSError, path: Path, size: int = 0, *, reading: bool = False
) -> StorageError:
    """Turn what the system said of `path` into one line of cause and one of remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(
            f"no space left for {path}" + (f": {size:,} bytes are needed." if size else "."),
            "Everything finished so far is kept. Free some space and run the same command again.",
        )
    if reading and error.errno in (errno.EACCES, errno.EPERM):
        return StorageError(
            f"{path} cannot be read: {error.strerror}.",
            "Change its permissions, then run the same command again.",
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StorageError(
            f"{path.parent} cannot be written: {error.strerror}.",
            "Choose a folder you may write to with --workspace DIR.",
        )
    if error.errno == errno.EIO:
        return StorageError(
            f"{path}: the disk reports an input/output error.",
            "Check the disk. If it is this file alone, move it away and run tlx embed again.",
        )
    return StorageError(
        f"{path}: {error.strerror or error}.",
        "Check the folder given by --workspace, then run the same command again.",
    )


def remove_stale_temporaries(folder: Path) -> list[Path]:
    """Remove the temporaries that dead processes left in `folder`; return what was removed.

    A temporary's name says which process on which machine owns it. One of this machine is stale if
    that very process (same number, same start) is gone; one of another machine, or on Windows,
    after a day.
    """
    removed = []
    for path in stale_temporaries(folder):
        with contextlib.suppress(OSError):  # another process was faster, or the folder is read-only
            path.unlink()
            removed.append(path)
    return removed


def stale_temporaries(folder: Path) -> list[Path]:
    """Return the temporaries that dead processes left in `folder`."""
    stale = []
    for path in folder.glob(".*.tmp"):
        found = _TEMPORARY.match(path.name)
        if found and _is_dead(found["host"], int(found["pid"]), int(found["start"]), path):
            stale.append(path)
    return stale


def _is_dead(its_host: str, pid: int, start: int, path: Path) -> bool:
    if its_host != host() or not PIDS_CAN_BE_ASKED:
        try:
            return time.time() - path.stat().st_mtime > _GRACE
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives and is somebody else's
        return False
    return _start_of(pid) != start


def owner() -> str:
    """Return this process as a part of a file name: where it runs, its number, its start."""
    return f"{host()}.{os.getpid()}.{_start_of(os.getpid())}"


@functools.cache
def host() -> str:
    """Return a short name of the space in which process numbers are unique.

    That is a machine between two starts, or a container on it. Host names alone would not do:
    containers and laptops share them.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _start_of(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 where the system does not say.

    Process numbers are used again, in containers at once; number and start together are not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])
