"""The files of a data set as a tree of folders, on this machine or as a listing from elsewhere."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from ..errors import DataError
from .archive import too_large
from .headers import IMAGE_SUFFIXES, looks_like_image

_DEEPEST = 64  # folders in folders, of names from elsewhere
_NOT_DATA = {"__MACOSX", "Thumbs.db", "desktop.ini"}


@dataclass(slots=True)
class Found:
    """One file that takes part.

    Attributes
    ----------
    path : str
        Relative to the root of its tree.
    size, mtime_ns : int
        Both unchanged: taken for the same file. Of what is no file here, `mtime_ns` is a stamp.
    label : str or None
    split, group : str
    error : str
        Why it cannot be read, "" if it can as far as is known.
    """

    path: str
    size: int = 0
    mtime_ns: int = 0
    label: str | None = None
    split: str = ""
    group: str = ""
    error: str = ""


class Tree(Protocol):
    """Folders that hold images and folders; ``""`` is the root.

    Attributes
    ----------
    root : str
        Where it lies; `os.path.join` of it and a path is what can be read.
    """

    root: str

    def inside(self, below: str, ignored: Counter[str]) -> tuple[list[Found], list[str]]:
        """Return the images directly in `below`, and the names of its visible subfolders."""
        ...

    def folders(self, below: str) -> list[str]:
        """Return the names of the visible folders in `below`; no file is looked at."""
        ...

    def walk(self, below: str, ignored: Counter[str]) -> Iterator[Found]:
        """Yield the images in and below `below`; what is none is counted in `ignored`."""
        ...


class FolderTree:
    """A folder of this machine.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self.root, self._root = str(root), root

    def inside(self, below: str, ignored: Counter[str]) -> tuple[list[Found], list[str]]:
        """Return the images directly in `below`, and the names of its visible subfolders."""
        entries, prefix = _entries(self._root / below), os.path.join(below, "")
        found = (_image(e, prefix + e.name, ignored) for e in entries if not _is_folder(e))
        return [one for one in found if one], _folders(entries)

    def folders(self, below: str) -> list[str]:
        """Return the names of the visible folders in `below`; no file is looked at."""
        return _folders(_entries(self._root / below))

    def walk(self, below: str, ignored: Counter[str]) -> Iterator[Found]:
        """Yield the images in and below `below`, entering each real folder once.

        The folders that it lies in count as entered: a link back to one of them would otherwise
        give the images of all other classes to this one.
        """
        entered = {_identity(parent) for parent in (self._root / below).parents}
        pending = [below]
        while pending:
            relative = pending.pop()
            try:
                identity = _identity(self._root / relative)
            except OSError:  # vanished meanwhile
                continue
            if identity in entered:
                continue
            entered.add(identity)
            subfolders, prefix = [], os.path.join(relative, "")
            for entry in _entries(self._root / relative):
                path = prefix + entry.name
                if _is_folder(entry):
                    if not is_hidden(entry.name):
                        subfolders.append(path)
                elif found := _image(entry, path, ignored):
                    yield found
            pending += reversed(subfolders)  # so that they come in the order of their names


class ListedTree:
    """What a listing from elsewhere names, as folders.

    A file is an image by its suffix alone: none is read for its first bytes. Names are hostile: one
    that is absolute, or has a part that is empty, ``.`` or ``..``, is ignored and counted.

    Parameters
    ----------
    root : str
    files : iterable of (str, int, int)
        Path relative to the root with ``/`` between its parts, size and stamp of each.
    """

    def __init__(self, root: str, files: Iterable[tuple[str, int, int]]) -> None:
        self.root, self._unsafe = root, 0
        self._folders: dict[str, tuple[list[tuple[str, int, int]], set[str]]] = {"": ([], set())}
        for path, size, stamp in files:
            if is_safe(path):
                folder, _, name = path.rpartition("/")
                self._folder(folder)[0].append((name, size, stamp))
            else:
                self._unsafe += 1
        for names, _ in self._folders.values():
            names.sort()

    def _folder(self, path: str) -> tuple[list[tuple[str, int, int]], set[str]]:
        """Return the files and folders in a folder; if it is new, those above it know of it."""
        found = self._folders.get(path)
        if found is None:
            found = self._folders[path] = ([], set())
            above, _, name = path.rpartition("/")
            self._folder(above)[1].add(name)
        return found

    def inside(self, below: str, ignored: Counter[str]) -> tuple[list[Found], list[str]]:
        """Return the images directly in `below`, and the names of its visible subfolders."""
        below = below.replace(os.sep, "/")
        names, _ = self._folders.get(below, ([], set()))
        if not below and self._unsafe:
            ignored["unsafe name"] = self._unsafe
        files = []
        for name, size, stamp in names:
            suffix = os.path.splitext(name)[1].lower()
            if is_hidden(name):
                ignored["hidden"] += 1
            elif suffix not in IMAGE_SUFFIXES:
                ignored[suffix or "no suffix"] += 1
            else:
                path = f"{below}/{name}" if below else name
                files.append(Found(path, size, stamp, error=too_large(size)))
        return files, self.folders(below)

    def folders(self, below: str) -> list[str]:
        """Return the names of the visible folders in `below`."""
        _, folders = self._folders.get(below.replace(os.sep, "/"), ([], set()))
        return sorted(folder for folder in folders if not is_hidden(folder))

    def walk(self, below: str, ignored: Counter[str]) -> Iterator[Found]:
        """Yield the images in and below `below`; what is none is counted in `ignored`."""
        pending = [below.replace(os.sep, "/")]
        while pending:
            folder = pending.pop()
            files, folders = self.inside(folder, ignored)
            yield from files
            pending += [f"{folder}/{name}" if folder else name for name in reversed(folders)]


def is_safe(path: str) -> bool:
    r"""Tell whether a name from elsewhere stays where it belongs when it is joined to a root.

    Examples
    --------
    >>> is_safe("cats/1.jpg"), is_safe("../1.jpg"), is_safe("/etc/1.jpg"), is_safe("C:\\1.jpg")
    (True, False, False, False)
    """
    parts = path.split("/")
    if len(parts) > _DEEPEST or "\\" in path or "\0" in path:
        return False
    return not {"", ".", ".."} & {*parts}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=attrgetter("name"))
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error


def _folders(entries: Sequence[os.DirEntry[str]]) -> list[str]:
    return [entry.name for entry in entries if _is_folder(entry) and not is_hidden(entry.name)]


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is none that people mean as data."""
    return name.startswith(".") or name in _NOT_DATA


def _image(entry: os.DirEntry[str], path: str, ignored: Counter[str]) -> Found | None:
    """Return the file as a candidate image, or count it as ignored."""
    if is_hidden(entry.name):
        ignored["hidden"] += 1
        return None
    stem, _, suffix = entry.name.rpartition(".")
    suffix = f".{suffix.lower()}" if stem else ""
    named_image = suffix in IMAGE_SUFFIXES
    try:
        status = entry.stat()
    except OSError as error:
        if named_image:
            return Found(path, error=(error.strerror or str(error)).lower())
        ignored[suffix or "no suffix"] += 1
        return None
    if not stat.S_ISREG(status.st_mode):
        if named_image:
            return Found(path, error="not a regular file")
        ignored["not a file"] += 1
        return None
    if not named_image and not looks_like_image(entry.name, _head(entry.path)):
        ignored[suffix or "no suffix"] += 1
        return None
    return Found(path, status.st_size, status.st_mtime_ns)


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(16)
    except OSError:
        return b""
