"""Shards that another process hands over: written aside, checked, and only then named.

A shard that nobody takes over is never seen. Its name is that of a temporary of the process that
is to take it, so that it goes with those of dead processes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import numpy as np

from .files import fsync_folder, make_folder, storage_error
from .shard import Rows, read_rows
from .store import FeatureStore


def hand_over(folder: Path, owner: str, data: bytes) -> Path:
    """Write a shard aside, for the process `owner` to take over.

    Parameters
    ----------
    folder : Path
        Of a `FeatureStore`.
    owner : str
        What `tlx.cache.files.owner` returned there.
    data : bytes
        Of `tlx.cache.shard.shard_bytes`.

    Raises
    ------
    StorageError
        If it cannot be written. Nothing is left behind.
    """
    path = folder / f".handed.{owner}.{secrets.token_hex(4)}.tmp"
    try:
        make_folder(folder)
        try:
            with open(path, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
    except OSError as error:
        raise storage_error(error, path, len(data)) from error
    return path


def read_handed(store: FeatureStore, path: Path) -> Rows:
    """Return all rows of a shard that was handed over, checked as those of any other.

    Raises
    ------
    FormatError
        If it is damaged or holds features of another spec.
    FileNotFoundError
        If it is gone.
    """
    return read_rows(path, store.spec_json)


def take_over(store: FeatureStore, path: Path, rows: Rows, new: np.ndarray) -> Path | None:
    """Make a shard that was handed over one of the store, with some of its rows.

    Parameters
    ----------
    store : FeatureStore
    path : Path
    rows : Rows
        What `read_handed` returned.
    new : ndarray of shape (n,), bool
        Which rows the store lacks.

    Returns
    -------
    Path or None
        The shard; None if the store lacks no row of it.
    """
    if new.all():
        shard = store.folder / f"{secrets.token_hex(12)}.h5"
        os.replace(path, shard)
        fsync_folder(store.folder)
        return shard
    shard = store.add_shard(rows.digests[new], rows.features[new]) if new.any() else None
    path.unlink()
    return shard


def drop_handed(store: FeatureStore, owner: str) -> None:
    """Remove what was handed over to `owner` and not taken, as by workers that came too late."""
    for path in store.folder.glob(f".handed.{owner}.*.tmp"):
        with contextlib.suppress(OSError):
            path.unlink()
