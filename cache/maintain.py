"""Care of a workspace's cache: look at it, check it, pack it, thin it out, join and export it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from .._version import __version__
from ..errors import DataError, FormatError, StorageError, UnknownNameError
from .files import remove_stale_temporaries, stale_temporaries, storage_error, write_atomic
from .hdf5 import checked_dataset, file_image, memory_file
from .identity import fingerprint_of
from .manifest import Manifest
from .sandbox import probe
from .shard import digest_bytes, read_digests, read_rows, read_shape, read_spec
from .store import SHARD_BYTES, FeatureStore

if TYPE_CHECKING:
    from ..workspace import Workspace

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


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
class Verification:
    """What a full read found: of each spec, and of each manifest that cannot be read."""

    specs: list[SpecReport]
    manifests: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.manifests and not any(spec.problems for spec in self.specs)


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


@dataclass
class Merged:
    """What came in from another workspace.

    Attributes
    ----------
    images : dict of str to int
        New features by fingerprint.
    datasets : list of str
        Data sets that were added.
    left_out : list of str
        Data sets that are here already, and stay as they are; their new features are there.
    problems : list of str
        Files that were refused.
    """

    images: dict[str, int] = field(default_factory=dict)
    datasets: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass
class Exported:
    """What an export holds."""

    path: Path
    dataset: str
    fingerprint: str
    images: int
    shape: tuple[int, ...]


def cache_info(workspace: Workspace) -> list[SpecReport]:
    """Tell what the cache holds, from the headers of its shards alone.

    `problems` names damaged heads, shards that were set aside, and what killed processes left.
    """
    return [_report(store, read_digests, leftovers=True) for store in _stores(workspace)]


def verify_cache(workspace: Workspace) -> Verification:
    """Read every byte of every shard and manifest, and change nothing."""
    specs = [
        _report(store, lambda path, spec: read_rows(path, spec).digests)
        for store in _stores(workspace)
    ]
    broken = []
    for path in _manifests(workspace):
        try:
            Manifest.load(path)
        except FileNotFoundError:
            continue
        except FormatError as error:
            broken.append(error.cause)
    return Verification(specs, broken)


def compact_cache(workspace: Workspace, spec: str | None = None) -> list[Change]:
    """Merge the shards of each spec into as few as their size allows, each image once.

    Every row is checked on the way, and damaged shards are set aside. Full shards are left as they
    are. Safe while others read, embed and compact.

    Parameters
    ----------
    workspace : Workspace
    spec : str, optional
        A backbone's name or the first digits of a fingerprint; by default all specs.

    Raises
    ------
    UnknownNameError
        If there is no such spec.
    StorageError
        If the disk is full or the like. Nothing is lost: a shard is removed only after its rows
        stand elsewhere.
    """
    for folder in (workspace.root / "datasets", *(store.folder for store in _stores(workspace))):
        remove_stale_temporaries(folder)
    return [_compact(store) for store in _select(workspace, spec)]


def prune_cache(
    workspace: Workspace, spec: str | None = None, *, force: bool = False, dry_run: bool = False
) -> list[Change]:
    """Drop the features that nothing needs, and the damaged shards that were set aside.

    Needed are the images that any manifest names and those that a run was fitted or scored on, with
    the spec of that run. An embedding pass at work may lose what it sealed before its first
    manifest was saved, and would embed that again later.

    Parameters
    ----------
    workspace : Workspace
    spec : str, optional
        A backbone's name or the first digits of a fingerprint: these specs are dropped as a whole,
        except for what runs need, and the others are left alone.
    force : bool, default=False
        Drop what runs need, too.
    dry_run : bool, default=False
        Only tell.

    Raises
    ------
    UnknownNameError
        If there is no such spec.
    FormatError
        If a manifest, or without `force` a run, cannot be read: what it needs is then not known.
    """
    named = set() if spec else _named_digests(workspace)
    needed = {} if force else _needed_by_runs(workspace)
    changes = []
    for store in _select(workspace, spec):
        for_runs = needed.get(store.fingerprint, set())
        keep = named | for_runs
        change = _change(store)
        stored = _stored(store)
        change.images = len(stored & keep)
        change.kept_for_runs = len((stored & for_runs) - named)
        change.shards, change.bytes = change.shards_before, change.bytes_before
        if not dry_run:
            _prune(store, keep)
            _count(store, change)
        changes.append(change)
    return changes


def merge_workspace(workspace: Workspace, other: Workspace) -> Merged:
    """Take in the features and manifests of another workspace, each file checked first.

    Files of others are treated as hostile: they are first read in a process of their own (see
    `tlx.cache.sandbox`), then row by row here, and what is good is written anew. The other
    workspace is only read. Its runs are not taken in.

    Parameters
    ----------
    place, other : Workspace

    Raises
    ------
    DataError
        If `other` is no workspace, or the same as `workspace`.
    """
    if not other.cache.is_dir() and not (other.root / "datasets").is_dir():
        raise DataError(
            f"{other.root} is no workspace: it has no cache.", "Name a folder such as other/.tlx"
        )
    if workspace.root.exists() and other.root.resolve() == workspace.root.resolve():
        raise DataError(f"{other.root} is this very workspace.", "Name another one.")
    merged = Merged()
    for folder in _spec_folders(other.cache):
        _merge_spec(workspace.cache, folder, merged)
    paths = _manifests(other)
    refused = probe("manifest", paths)
    merged.problems += refused.values()
    for path in paths:
        if path not in refused:
            _merge_manifest(workspace, path, merged)
    return merged


def export_features(
    workspace: Workspace,
    path: str | os.PathLike[str],
    dataset: str | None = None,
    spec: str | None = None,
) -> Exported:
    """Write the features of a data set as one plain HDF5 file, replacing it whole.

    It has ``features`` (N, …), ``path`` (N,) and ``split`` (N,) text in UTF-8, ``label`` (N,) int32
    with -1 for none, and ``class_names`` (C,) text, and needs no tlx to be read. The file is built
    in memory: three times the size of the features is needed.

    Parameters
    ----------
    workspace : Workspace
    path : path
    dataset : str, optional
        By default the one embedded last.
    spec : str, optional
        A backbone's name or the first digits of a fingerprint; by default the one embedded last.

    Raises
    ------
    DataError
        If features are missing.
    UnknownNameError
        If there is no such data set or spec.
    StorageError
        If the file cannot be written. An older one is then still there.
    """
    manifest = workspace.load_manifest(dataset)
    source = _pick_source(manifest, spec)
    part = manifest.subset(np.flatnonzero(manifest.usable))
    features = FeatureStore(workspace.cache, source["spec"]).gather(part.digest_bytes())
    with memory_file() as file:
        file.create_dataset("features", data=features)
        file.create_dataset("label", data=part.label)
        for name in ("path", "split", "class_names"):
            _write_text(file, name, getattr(part, name))
        file.attrs.update(
            {
                "dataset": part.name,
                "root": _utf8(part.root),
                "spec": source["spec"],
                "fingerprint": source["fingerprint"],
                "tlx": __version__,
            }
        )
        data = file_image(file)
    try:
        write_atomic(Path(path), data)
    except StorageError as error:
        if error.cause.startswith("no space"):
            raise
        raise StorageError(error.cause, "Name another file to write.") from error
    return Exported(Path(path), part.name, source["fingerprint"], len(part), features.shape[1:])


def _stores(workspace: Workspace) -> list[FeatureStore]:
    """Return a store for each spec folder that has a readable shard, or only damaged ones."""
    stores = []
    for folder in _spec_folders(workspace.cache):
        store = _store_of(folder)
        if store is not None:
            stores.append(store)
    return stores


def _spec_folders(cache: Path) -> list[Path]:
    if not cache.is_dir():
        return []
    return sorted(p for p in cache.iterdir() if _FINGERPRINT.fullmatch(p.name) and p.is_dir())


def _store_of(folder: Path) -> FeatureStore | None:
    """Return the store of a spec folder; None if it is empty.

    If no shard can be read, the spec is not known. The store then has an empty one, which suits no
    shard, so that all of them are told to be damaged.
    """
    if not any(folder.iterdir()):
        return None
    for shard in sorted(folder.glob("*.h5")):
        try:
            spec = read_spec(shard)
        except (FormatError, FileNotFoundError):
            continue
        if fingerprint_of(spec) == folder.name:
            return FeatureStore(folder.parent, spec)
    store = FeatureStore(folder.parent, "")
    store.folder, store.fingerprint = folder, folder.name
    return store


def _report(
    store: FeatureStore, read: Callable[[Path, str], np.ndarray], leftovers: bool = False
) -> SpecReport:
    report = SpecReport(store.fingerprint, _fields(store.spec_json))
    digests: set[bytes] = set()
    shapes = set()

    def look(shard: Path) -> tuple[np.ndarray, tuple[int, ...], int]:
        shape = read_shape(shard, store.spec_json)
        return read(shard, store.spec_json), shape[1:], shard.stat().st_size

    def note(shard: Path, error: FormatError) -> None:
        report.problems.append(error.cause)

    for _, (found, shape, size) in store.sweep(look, note):
        digests.update(digest_bytes(found))
        shapes.add(shape)
        report.shards += 1
        report.bytes += size
    report.images = len(digests)
    if len(shapes) > 1:
        report.problems.append(f"{store.folder} holds features of shapes {sorted(shapes)}.")
    if leftovers:
        report.problems += _leftovers(store.folder)
    return report


def _leftovers(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.bad")):
        yield f"{path} was set aside as damaged; tlx cache prune removes it."
    for path in stale_temporaries(folder):
        yield f"{path} was left by a process that was killed; tlx cache compact removes it."


def _fields(spec_json: str) -> dict[str, Any]:
    return json.loads(spec_json) if spec_json else {}


def _select(workspace: Workspace, spec: str | None) -> list[FeatureStore]:
    stores = _stores(workspace)
    if spec is None:
        return stores
    chosen = [s for s in stores if _matches(spec, s.fingerprint, _fields(s.spec_json))]
    if not chosen:
        raise UnknownNameError.nearest("spec", spec, _spec_names(stores))
    return chosen


def _matches(wanted: str, fingerprint: str, fields: dict[str, Any]) -> bool:
    return fields.get("backbone") == wanted or fingerprint.startswith(wanted)


def _spec_names(stores: list[FeatureStore]) -> list[str]:
    return [str(_fields(s.spec_json).get("backbone", s.fingerprint[:12])) for s in stores]


def _pick_source(manifest: Manifest, spec: str | None) -> dict[str, Any]:
    if not manifest.sources:
        raise DataError(f"data set {manifest.name!r} has no features.", "Run tlx embed first.")
    if spec is None:
        return manifest.sources[-1]
    sources = [s for s in manifest.sources if _matches(spec, s["fingerprint"], _fields(s["spec"]))]
    if not sources:
        known = [_fields(s["spec"]).get("backbone", "") for s in manifest.sources]
        raise UnknownNameError.nearest("spec", spec, known)
    return sources[-1]


def _manifests(workspace: Workspace) -> list[Path]:
    paths = (workspace.root / "datasets").glob("*.h5")
    return sorted(path for path in paths if not path.name.startswith("."))


def _change(store: FeatureStore) -> Change:
    return Change(
        store.fingerprint,
        _fields(store.spec_json),
        len(_stored(store)),
        len(store.shards()),
        _bytes(store),
    )


def _stored(store: FeatureStore) -> set[bytes]:
    """Return the digests of all stored images, and change nothing."""
    found: set[bytes] = set()
    for _, digests in store.sweep(
        lambda path: read_digests(path, store.spec_json), lambda path, error: None
    ):
        found.update(digest_bytes(digests))
    return found


def _count(store: FeatureStore, change: Change) -> None:
    change.images, change.shards = len(_stored(store)), len(store.shards())
    change.bytes = _bytes(store)


def _bytes(store: FeatureStore) -> int:
    total = 0
    for shard in store.shards():
        try:
            total += shard.stat().st_size
        except FileNotFoundError:  # merged meanwhile
            continue
    return total


def _compact(store: FeatureStore) -> Change:
    change = _change(store)
    store.rewrite(_worth_rewriting(store))
    _count(store, change)
    change.problems = store.problems
    return change


def _worth_rewriting(store: FeatureStore) -> list[Path]:
    """Return the shards that are not full, and those that share an image with another.

    Rewriting only the smaller of two that share an image could not drop the second copy: what
    another shard has does not count as safe (see `FeatureStore.rewrite`).
    """
    digests: dict[Path, list[bytes]] = {}
    full: set[Path] = set()

    def look(path: Path) -> tuple[list[bytes], int]:
        # All of it, not the head alone: nothing else would set a shard with a damaged row aside
        # before somebody needs that row.
        rows = read_rows(path, store.spec_json)
        return digest_bytes(rows.digests), rows.features[:1].nbytes

    for shard, (found, row_bytes) in store.sweep(look):
        digests[shard] = found
        if len(found) >= max(1, SHARD_BYTES // max(1, row_bytes)):
            full.add(shard)
    owner: dict[bytes, Path] = {}
    shared: set[Path] = set()
    for shard, ids in digests.items():
        for digest in ids:
            first = owner.setdefault(digest, shard)
            if first != shard:
                shared |= {first, shard}
        if len(set(ids)) < len(ids):
            shared.add(shard)
    chosen = [shard for shard in digests if shard not in full or shard in shared]
    return chosen if len(chosen) > 1 or shared else []


def _prune(store: FeatureStore, keep: set[bytes]) -> None:
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


def _named_digests(workspace: Workspace) -> set[bytes]:
    """Return the digests of all images of all data sets."""
    named: set[bytes] = set()
    for path in _manifests(workspace):
        manifest = Manifest.load(path)
        named.update(digest_bytes(manifest.digest[manifest.hashed]))
    return named


def _needed_by_runs(workspace: Workspace) -> dict[str, set[bytes]]:
    """Return the digests that runs were fitted or scored on, by fingerprint."""
    needed: dict[str, set[bytes]] = {}
    for folder in sorted(workspace.runs.glob("*")):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            fingerprints = set(_fingerprints(json.loads((folder / "run.json").read_bytes())))
            digests = _run_digests(folder / "predictions.h5")
        except (OSError, ValueError, KeyError, RuntimeError) as error:  # RecursionError, too
            raise FormatError(
                f"what run {folder.name} needs is not known: {error}.",
                f"Remove {folder}, or use --force to prune what runs need, too.",
            ) from error
        for fingerprint in fingerprints:
            needed.setdefault(fingerprint, set()).update(digests)
    return needed


def _fingerprints(value: Any) -> Iterator[str]:
    """Yield everything that a run calls a fingerprint, however deep."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "fingerprint" and isinstance(part, str):
                yield part
            else:
                yield from _fingerprints(part)
    elif isinstance(value, list):
        for part in value:
            yield from _fingerprints(part)


def _run_digests(path: Path) -> set[bytes]:
    found: set[bytes] = set()
    size = path.stat().st_size
    with h5py.File(path, "r", locking=False) as file:
        for name in ("digest", "trained_on"):
            if name in file:
                found.update(digest_bytes(checked_dataset(path, file, name, size)[:]))
    return found


def _merge_spec(cache: Path, folder: Path, merged: Merged) -> None:
    foreign = sorted(p for p in folder.glob("*.h5") if not p.name.startswith("."))
    refused = probe("shard", foreign)
    merged.problems += refused.values()
    store: FeatureStore | None = None
    known: set[bytes] = set()
    added: list[Path] = []
    for shard in foreign:
        if shard in refused:
            continue
        try:
            spec = read_spec(shard)
            store = store or FeatureStore(cache, spec)
            if store.fingerprint != folder.name:
                raise FormatError(f"{shard} lies in the folder of another spec.")
            known = known or store.digests()
            rows = read_rows(shard, store.spec_json)
            shape = store.feature_shape()
            if shape not in (None, rows.features.shape[1:]):
                raise FormatError(f"{shard} holds features of another shape than those here.")
        except FileNotFoundError:
            continue
        except FormatError as error:
            merged.problems.append(error.cause)
            continue
        ids = digest_bytes(rows.digests)
        new = [row for row, digest in enumerate(ids) if digest not in known]
        if new:
            known.update(ids)
            added.append(store.add_shard(rows.digests[new], rows.features[new]))
            merged.images[folder.name] = merged.images.get(folder.name, 0) + len(new)
    if store is not None and len(added) > 1:
        store.rewrite(added)


def _merge_manifest(workspace: Workspace, path: Path, merged: Merged) -> None:
    try:
        when = path.stat().st_mtime_ns
        theirs = Manifest.load(path)
        if theirs.name != workspace.manifest_name(Path(theirs.root), path.stem):
            raise FormatError(f"{path} says that it is data set {theirs.name!r}.")
    except FileNotFoundError:
        return
    except (DataError, FormatError) as error:
        merged.problems.append(error.cause)
        return
    root_hash = hashlib.sha256(os.fsencode(theirs.root)).hexdigest()[:6]
    for name in (theirs.name, f"{theirs.name}-{root_hash}"):
        target = workspace.manifest_path(name)
        if not target.exists():
            dataclasses.replace(theirs, name=name).save(target)
            with contextlib.suppress(OSError):
                # The default is the data set embedded last, which a merge is no reason to change.
                os.utime(target, ns=(when, when))
            merged.datasets.append(name)
            return
        if Manifest.load(target).root == theirs.root:
            break
    merged.left_out.append(theirs.name)


def _write_text(file: Any, name: str, texts: Iterable[str]) -> None:
    """Write strings of variable length, which every HDF5 program shows as text."""
    values = [_utf8(text) for text in texts]
    column = file.create_dataset(name, len(values), h5py.string_dtype())
    if values:
        column[:] = values


def _utf8(text: str) -> str:
    r"""Return `text` with each byte that is no UTF-8 written as ``\xff``."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error
