"""Where an export is put: written aside, and given its name when it is whole."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..cache.files import fsync_folder, make_folder, owner, storage_error
from ..errors import DataError, TlxError
from .formats.format import Format
from .predictor import NAME, read_predictor


@dataclass(frozen=True)
class Place:
    """Where an export goes: a folder of its own, or a file with ``predictor.json`` beside it."""

    folder: Path
    name: str
    own_folder: bool

    def check(self, overwrite: bool) -> None:
        """Refuse a place that is taken, or that holds what is no export.

        Raises
        ------
        DataError
        """
        there = [self.folder] if self.own_folder else [self.folder / self.name, self.folder / NAME]
        taken = [path for path in there if path.exists() or path.is_symlink()]
        if not taken:
            return
        if not overwrite:
            raise DataError(
                f"{taken[0]} is there already.", "Name another --output, or add --force."
            )
        if self.own_folder:
            self._require_export()
        else:
            self._replaced()

    def _replaced(self) -> set[str]:
        """Return the names of files that may be replaced beside others: those of the old export."""
        path = self.folder / NAME
        if not path.exists():
            return {self.name}
        old = read_predictor(path)
        if old.file != self.name:
            raise DataError(
                f"{path} describes {old.file}, which would be left without it.",
                "Name a folder of its own: --output FOLDER",
            )
        return {self.name, NAME, *old.files}

    def _require_export(self) -> None:
        """Refuse to replace a folder that holds anything but an export."""
        inside = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else None
        known: set[str] = set()
        if inside and NAME in inside:
            known = {
                NAME,
                *(file.split("/")[0] for file in read_predictor(self.folder / NAME).files),
            }
        if inside is None or inside - known:
            raise DataError(
                f"{self.folder} is no export, or has other files in it; it is not replaced.",
                "Name another --output.",
            )

    def take(self, made: Path, overwrite: bool) -> None:
        """Give a finished folder its name, or its files theirs, ``predictor.json`` last."""
        try:
            for path in made.rglob("*"):
                if path.is_file():
                    _sync(path)
            if self.own_folder:
                self._take_folder(made, overwrite)
            else:
                new = sorted(made.iterdir(), key=lambda path: path.name == NAME)
                ours = self._replaced() if overwrite else set()
                for path in new:
                    if path.name not in ours and (self.folder / path.name).exists():
                        raise DataError(
                            f"{self.folder / path.name} is there already"
                            f"{', and is of no export' if overwrite else ''}.",
                            "Name another --output." if overwrite else "Add --force.",
                        )
                for path in new:
                    path.replace(self.folder / path.name)
                made.rmdir()
            folder = self.folder.resolve()
            fsync_folder(folder.parent if self.own_folder else folder)
        except OSError as error:
            raise storage_error(error, self.folder) from error

    def _take_folder(self, made: Path, overwrite: bool) -> None:
        """Give a folder its name; the old one is looked at again, and comes back on a failure."""
        target, old = self.folder.resolve(), made.with_name(f"{made.name}.old")
        if overwrite and target.exists():
            self._require_export()
            target.rename(old)
        try:
            made.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    """Make a file's bytes durable, so that no power cut leaves its name without them."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def choose_place(name: str, kind: Format, output: str | os.PathLike[str] | None) -> Place:
    """Return where an export is to go; see `tlx.deploy.export.export_run`.

    Raises
    ------
    DataError
        If a file is named where the format needs a folder of its own.
    """
    if output is None:
        return Place(Path(f"{name}-{kind.name}"), kind.file, True)
    path = Path(output)
    if kind.suffix and path.suffix.lower() == kind.suffix:
        if kind.own_folder:
            raise DataError(
                f"format {kind.name} is a folder of files, and {path} is named as a file.",
                "Name a folder: --output FOLDER",
            )
        return Place(path.parent, path.name, False)
    return Place(path, kind.file, True)


@contextmanager
def aside(place: Place) -> Iterator[Path]:
    """Make a folder beside where an export is to be; whatever happens, it is gone afterwards.

    Raises
    ------
    StorageError
        If it cannot be written there.
    """
    folder = place.folder.resolve()  # where it lies, if a link leads there
    beside = folder.parent if place.own_folder else folder
    made = beside / f".{place.folder.name[:32]}.{owner()}.{secrets.token_hex(4)}.tmp"
    try:
        make_folder(beside)
        made.mkdir()
        yield made
    except TlxError:
        raise
    except OSError as error:
        raise storage_error(error, place.folder.absolute()) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
