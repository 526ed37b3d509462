"""Care of one store: look at it, check it, pack it, and thin it out."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import FormatError
from .copies import count_distinct, maybe_repeated, short_keys
from .files import remove_stale_temporaries, stale_temporaries, storage_error
from .identity import fingerprint_of
from .shard import digest_bytes, read_digests, read_head, read_rows, read_spec
from .store import SHARD_BYTES, FeatureStore, shard_files

_T = TypeVar("_T")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")

_Head = tuple[np.ndarray, tuple[int, ...]]  # digests, shape of the features
Tick = Callable[[int], None]  # told how many more shards have been dealt with


def _no_tick(shards: int) -> None: ...


@dataclass
class SpecReport:
    """What the cache holds of one spec.

    Attributes
    ----------
    fingerprint : str
    spec : dict
        Its fields; empty if no shard could be read.
    images, shards, bytes : int
    problems : list of str
        What is wrong, one line each.
    """

    fingerprint: str
    spec: dict[str, Any] = field(default_factory=dict)
    images: int = 0
    shards: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class Change:
    """What `compact` or `prune` did, or with ``dry_run`` would do, to one spec.

    Attributes
    ----------
    fingerprint : str
    spec : dict
    images_before, images, shards_before, shards, bytes_before, bytes : int
        With ``dry_run`` the shards and bytes after it are not known and stay as they are.
    kept_for_runs : int
        Images that only runs need.
    problems : list of str
        What was found damaged and set aside.
    """

    fingerprint: str
    spec: dict[str, Any]
    images_before: int
    shards_before: int
    bytes_before: int
    images: int = 0
    shards: int = 0
    bytes: int = 0
    kept_for_runs: int = 0
    problems: list[str] = field(default_factory=list)


def stores_in(cache: Path) -> list[FeatureStore]:
    """Return a store for each spec folder of a cache, those with damaged shards only included."""
    return [store for folder in spec_folders(cache) if (store := _store_of(folder)) is not None]


def spec_folders(cache: Path) -> list[Path]:
    """Return the folders of a cache that are named by a fingerprint."""
    if not cache.is_dir():
        return []
    return sorted(p for p in cache.iterdir() if _FINGERPRINT.fullmatch(p.name) and p.is_dir())


def fields_of(store: FeatureStore) -> dict[str, Any]:
    """Return the fields of a store's spec; none if it is not known."""
    return json.loads(store.spec_json) if store.spec_json else {}


def look(store: FeatureStore) -> SpecReport:
    """Tell what a store holds, from the heads of its shards alone, and change nothing.

    `problems` names damaged heads, shards that were set aside, and what killed processes left.
    """
    report = _report(store, read_head, _no_tick)
    report.problems += _leftovers(store.folder)
    return report


def verify(store: FeatureStore, tick: Tick = _no_tick) -> SpecReport:
    """Read every byte of every shard, and change nothing."""

    def read_all(path: Path, spec: str) -> _Head:
        rows = read_rows(path, spec)
        return rows.digests, rows.features.shape

    return _report(store, read_all, tick)


def compact(store: FeatureStore, tick: Tick = _no_tick) -> Change:
    """Merge the shards of a store into as few as their size allows, each image once.

    Every row is checked on the way, and damaged shards are set aside. Full shards are left as they
    are. Safe while others read, embed and compact. `tick` is told of each shard twice.

    Raises
    ------
    StorageError
        If the disk is full or the like. Nothing is lost: a shard is removed only after its rows
        stand elsewhere.
    """
    remove_stale_temporaries(store.folder)
    change = _begin(store)
    chosen = _worth_rewriting(store, tick)
    tick(max(0, change.shards_before - len(chosen)))
    store.rewrite(_ticking(chosen, tick))
    _finish(change, store)
    return change


def prune(store: FeatureStore, keep: set[bytes], *, dry_run: bool = False) -> Change:
    """Drop all images but those in `keep`, and the damaged shards that were set aside."""
    change = _begin(store)
    if dry_run:
        change.images = len(stored(store) & keep)
        change.shards, change.bytes = change.shards_before, change.bytes_before
        return change
    superfluous = [
        shard
        for shard, found in store.sweep(lambda path: read_digests(path, store.spec_json))
        if not keep.issuperset(digest_bytes(found))
    ]
    store.rewrite(superfluous, keep.__contains__)
    for path in (*store.folder.glob("*.bad"), *stale_temporaries(store.folder)):
        _delete(path)
    with contextlib.suppress(OSError):  # not empty
        store.folder.rmdir()
    _finish(change, store)
    return change


def stored(store: FeatureStore) -> set[bytes]:
    """Return the digests of all stored images, and change nothing: no shard is set aside."""
    found: set[bytes] = set()
    for _, digests in store.sweep(
        lambda path: read_digests(path, store.spec_json), lambda path, error: None
    ):
        found.update(digest_bytes(digests))
    return found


def _store_of(folder: Path) -> FeatureStore | None:
    """Return the store of a spec folder; None if it is empty.

    If no shard can be read, the spec is not known. The store then has an empty one, which suits no
    shard, so that all of them are told to be damaged.
    """
    if not any(folder.iterdir()):
        return None
    for shard in shard_files(folder):
        try:
            spec = read_spec(shard)
        except (FormatError, FileNotFoundError):
            continue
        if fingerprint_of(spec) == folder.name:
            return FeatureStore(folder.parent, spec)
    store = FeatureStore(folder.parent, "")
    store.folder, store.fingerprint = folder, folder.name
    return store


def _report(store: FeatureStore, read: Callable[[Path, str], _Head], tick: Tick) -> SpecReport:
    report = SpecReport(store.fingerprint, fields_of(store))
    keys = [np.zeros(0, np.uint64)]  # 8 bytes an image: all else is the same however many there are
    shapes = set()

    def read_all(shard: Path) -> tuple[np.ndarray, tuple[int, ...], int]:
        tick(1)
        digests, shape = read(shard, store.spec_json)
        return short_keys(digests), shape[1:], shard.stat().st_size

    def note(shard: Path, error: FormatError) -> None:
        report.problems.append(error.cause)

    for _, (found, shape, size) in store.sweep(read_all, note):
        keys.append(found)
        shapes.add(shape)
        report.shards += 1
        report.bytes += size
    report.images = count_distinct(np.concatenate(keys))
    if len(shapes) > 1:
        report.problems.append(f"{store.folder} holds features of shapes {sorted(shapes)}.")
    return report


def _leftovers(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.bad")):
        yield f"{path} was set aside as damaged; tlx cache prune removes it."
    for path in stale_temporaries(folder):
        yield f"{path} was left by a process that was killed; tlx cache compact removes it."


def _begin(store: FeatureStore) -> Change:
    return Change(
        store.fingerprint, fields_of(store), _images(store), len(store.shards()), _bytes(store)
    )


def _finish(change: Change, store: FeatureStore) -> None:
    change.images, change.shards = _images(store), len(store.shards())
    change.bytes, change.problems = _bytes(store), store.problems


def _images(store: FeatureStore) -> int:
    """Count the stored images, and change nothing: no shard is set aside."""
    found = store.sweep(
        lambda path: short_keys(read_digests(path, store.spec_json)), lambda path, error: None
    )
    return count_distinct(np.concatenate([np.zeros(0, np.uint64), *(keys for _, keys in found)]))


def _bytes(store: FeatureStore) -> int:
    total = 0
    for shard in store.shards():
        with contextlib.suppress(FileNotFoundError):  # merged meanwhile
            total += shard.stat().st_size
    return total


def _worth_rewriting(store: FeatureStore, tick: Tick) -> list[Path]:
    """Return the shards that are not full, and those that share an image with another.

    Rewriting only the smaller of two that share an image could not drop the second copy: what
    another shard has does not count as safe (see `FeatureStore.rewrite`).
    """
    shards: list[Path] = []
    keys = [np.zeros(0, np.uint64)]
    full: set[Path] = set()

    def read_all(path: Path) -> tuple[np.ndarray, int]:
        # All of it, not the head alone: nothing else would set a shard with a damaged row aside
        # before somebody needs that row.
        tick(1)
        rows = read_rows(path, store.spec_json)
        return short_keys(rows.digests), rows.features[:1].nbytes

    for shard, (found, row_bytes) in store.sweep(read_all):
        shards.append(shard)
        keys.append(found)
        if len(found) >= max(1, SHARD_BYTES // max(1, row_bytes)):
            full.add(shard)
    number = np.repeat(np.arange(len(shards)), [len(found) for found in keys[1:]])
    shared = {shards[i] for i in np.unique(number[maybe_repeated(np.concatenate(keys))])}
    chosen = [shard for shard in shards if shard not in full or shard in shared]
    return chosen if len(chosen) > 1 or shared else []


def _ticking(items: Iterable[_T], tick: Tick) -> Iterator[_T]:
    for item in items:
        tick(1)
        yield item


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error
