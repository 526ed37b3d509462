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
                old = made.with_name(f"{made.name}.old")
                if overwrite and self.folder.exists():
                    self.folder.rename(old)
                made.rename(self.folder)
                shutil.rmtree(old, ignore_errors=True)
            else:
                new = sorted(made.iterdir(), key=lambda path: path.name == NAME)
                if taken := [
                    p.name for p in new if not overwrite and (self.folder / p.name).exists()
                ]:
                    raise DataError(f"{self.folder / taken[0]} is there already.", "Add --force.")
                for path in new:
                    path.replace(self.folder / path.name)
                made.rmdir()
            fsync_folder(self.folder.parent if self.own_folder else self.folder)
        except OSError as error:
            raise storage_error(error, self.folder) from error


def _sync(path: Path) -> None:
    """Make a file's bytes durable, so that no power cut leaves its name without them."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def choose_place(name: str, kind: Format, output: str | os.PathLike[str] | None) -> Place:
    """Return where an export is to go; see `tlx.deploy.export.export_run`."""
    if output is None:
        return Place(Path(f"{name}-{kind.name}"), kind.file, True)
    path = Path(output)
    if kind.suffix and path.suffix.lower() == kind.suffix:
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
    beside = place.folder.absolute().parent if place.own_folder else place.folder.absolute()
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
