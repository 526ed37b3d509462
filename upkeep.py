"""Care of a whole workspace: its stores, data sets and runs together."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from .cache.corrections import Corrections
from .cache.files import remove_stale_temporaries
from .cache.identity import fingerprint_of
from .cache.maintain import (
    Change,
    SpecReport,
    compact,
    fields_of,
    look,
    prune,
    spec_folders,
    stored,
    stores_in,
    verify,
)
from .cache.manifest import Manifest
from .cache.matrix import drop_oldest
from .cache.sandbox import check_apart, check_each
from .cache.shard import digest_bytes, read_rows, read_spec
from .cache.store import FeatureStore, rows_of_a_full_shard, shard_files
from .classify.runs.store import list_runs
from .classify.sources import view_specs
from .errors import DataError, FormatError, TlxError, UnknownNameError
from .progress import Progress, silent
from .workspace import Workspace, check_slug


@dataclass
class Verification:
    """What a full read found: of each spec, and what manifests and corrections cannot be read."""

    specs: list[SpecReport]
    manifests: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.manifests and not any(spec.problems for spec in self.specs)


@dataclass
class Merged:
    """What came in from another workspace.

    Attributes
    ----------
    images : dict of str to int
        New features by fingerprint.
    datasets : list of str
        Data sets that were added.
    parts : int
        Parts of data sets that came in: `tlx embed` of the whole makes the data set of them.
    left_out : list of str
        Data sets that are here already, and stay as they are; their new features are there.
    corrections : dict of str to int
        Corrections of labels that came in, by data set.
    problems : list of str
        Files that were refused.
    """

    images: dict[str, int] = field(default_factory=dict)
    datasets: list[str] = field(default_factory=list)
    parts: int = 0
    left_out: list[str] = field(default_factory=list)
    corrections: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def cache_info(workspace: Workspace) -> list[SpecReport]:
    """Tell what the cache holds, from the headers of its shards alone.

    `problems` names damaged heads, shards that were set aside, and what killed processes left.
    """
    return [look(store) for store in stores_in(workspace.cache)]


def gathered_bytes(workspace: Workspace) -> int:
    """Tell how much room the gathered features of many images take: see `tlx.classify.gather`."""
    total = 0
    for path in workspace.tables.glob("*.f32"):
        with contextlib.suppress(FileNotFoundError):  # dropped by another process
            total += path.stat().st_size
    return total


def prune_gathered(workspace: Workspace, *, dry_run: bool = False) -> int:
    """Drop them, and what killed processes left of them; return how many bytes they took.

    All are derived: the next fit gathers the features again.
    """
    nbytes = gathered_bytes(workspace)
    if not dry_run:
        remove_stale_temporaries(workspace.tables)
        drop_oldest(workspace.tables, 0)
    return nbytes


def verify_cache(workspace: Workspace, progress: Progress = silent) -> Verification:
    """Read every byte of every shard and manifest, and change nothing.

    `progress` is called with the number of shards read and their total.
    """
    stores = stores_in(workspace.cache)
    tick = _counter(progress, sum(len(store.shards()) for store in stores))
    specs = [verify(store, tick) for store in stores]
    broken = []
    for path in _all_manifests(workspace):
        try:
            Manifest.load(path)
        except FileNotFoundError:
            continue
        except FormatError as error:
            broken.append(error.cause)
    for path in (workspace.root / "corrections").glob("*.json"):
        try:
            workspace.corrections(path.stem)
        except FormatError as error:
            broken.append(error.cause)
    return Verification(specs, broken)


def compact_cache(
    workspace: Workspace, spec: str | None = None, progress: Progress = silent
) -> list[Change]:
    """Merge the shards of each spec into as few as their size allows, each image once.

    Every row is checked on the way, and damaged shards are set aside. Full shards are left as they
    are. Safe while others read, embed and compact.

    Parameters
    ----------
    workspace : Workspace
    spec : str, optional
        A backbone's name or the first digits of a fingerprint; by default all specs.
    progress : callable, optional
        Called with the number of shards dealt with, each once as it is read and once as it is
        merged, and their total.

    Raises
    ------
    UnknownNameError
        If there is no such spec.
    StorageError
        If the disk is full or the like. Nothing is lost: a shard is removed only after its rows
        stand elsewhere.
    """
    for folder in (workspace.root / "datasets", workspace.parts):
        remove_stale_temporaries(folder)
    stores = _select(workspace, spec)
    tick = _counter(progress, 2 * sum(len(store.shards()) for store in stores))
    return [compact(store, tick) for store in stores]


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
        only_for_runs = len((stored(store) & for_runs) - named)
        change = prune(store, named | for_runs, dry_run=dry_run)
        change.kept_for_runs = only_for_runs
        changes.append(change)
    return changes


def merge_workspace(workspace: Workspace, other: Workspace, progress: Progress = silent) -> Merged:
    """Take in the features and manifests of another workspace, each file checked first.

    Files of others are treated as hostile: they are first read in a process of their own (see
    `tlx.cache.sandbox`), then row by row here, and what is good is written anew. The other
    workspace is only read. Its runs are not taken in.

    Parameters
    ----------
    workspace, other : Workspace
    progress : callable, optional
        Called with the number of shards dealt with, and their total.

    Raises
    ------
    DataError
        If `other` is no workspace, or the same as `workspace`.
    """
    if not any(map(Path.is_dir, (other.cache, other.parts, other.root / "datasets"))):
        raise DataError(
            f"{other.root} is no workspace: it has no cache.", "Name a folder such as other/.tlx"
        )
    if workspace.root.exists() and other.root.resolve() == workspace.root.resolve():
        raise DataError(f"{other.root} is this very workspace.", "Name another one.")
    merged = Merged()
    shards = {folder: shard_files(folder) for folder in spec_folders(other.cache)}
    tick = _counter(progress, sum(map(len, shards.values())))
    for folder, foreign in shards.items():
        _merge_spec(workspace.cache, folder.name, foreign, merged, tick)
    paths = _all_manifests(other)
    refused = check_apart("manifest", paths)
    merged.problems += refused.values()
    for path in paths:
        if path.parent == other.parts and path not in refused:
            _merge_part(workspace, path, merged)
        elif path not in refused:
            name = _merge_manifest(workspace, path, merged)
            if name is not None:
                _merge_corrections(workspace, name, other, path.stem, merged)
    return merged


def _counter(progress: Progress, total: int) -> Callable[[int], None]:
    """Return a function that adds to a count and tells `progress` of it."""
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done = min(done + more, total)  # other processes may add shards meanwhile
        progress(done, total)

    return tick


def _select(workspace: Workspace, spec: str | None) -> list[FeatureStore]:
    stores = stores_in(workspace.cache)
    if spec is None:
        return stores
    names = [str(fields_of(s).get("backbone", s.fingerprint[:12])) for s in stores]
    chosen = [
        store
        for store, name in zip(stores, names, strict=True)
        if name == spec or store.fingerprint.startswith(spec)
    ]
    if not chosen:
        raise UnknownNameError.nearest("spec", spec, names)
    return chosen


def _manifests(workspace: Workspace) -> list[Path]:
    return shard_files(workspace.root / "datasets")


def _all_manifests(workspace: Workspace) -> list[Path]:
    """Return the manifests of data sets, and those of parts that no data set was made of yet."""
    return _manifests(workspace) + shard_files(workspace.parts)


def _named_digests(workspace: Workspace) -> set[bytes]:
    """Return the digests of all images of all data sets and parts."""
    named: set[bytes] = set()
    for path in _all_manifests(workspace):
        manifest = Manifest.load(path)
        named.update(digest_bytes(manifest.digest[manifest.hashed]))
    return named


def _needed_by_runs(workspace: Workspace) -> dict[str, set[bytes]]:
    """Return the digests that runs were fitted or scored on, by fingerprint."""

    def not_known(run_id: str, error: TlxError) -> NoReturn:
        raise FormatError(
            f"what run {run_id} needs is not known: {error.cause}",
            f"Remove it with tlx runs rm {run_id}, or use --force to prune what runs need, too.",
        ) from error

    needed: dict[str, set[bytes]] = {}
    for run in list_runs(workspace, not_known):
        try:
            scored = run.predictions()
        except TlxError as error:
            not_known(run.id, error)
        views = max(run.info.views, run.info.tta)
        specs = [spec for s in run.info.sources for spec in view_specs(s, views)]
        for spec in specs:
            digests = needed.setdefault(spec.fingerprint, set())
            digests.update(digest_bytes(scored.digest), digest_bytes(scored.trained_on))
    return needed


def _merge_spec(
    cache: Path, fingerprint: str, foreign: list[Path], merged: Merged, tick: Callable[[int], None]
) -> None:
    """Take in the shards of one spec of another workspace."""
    # What is there is looked up once: to look again for each shard would take N times N listings. A
    # copy that another process writes meanwhile does no harm.
    store: FeatureStore | None = None
    known: set[bytes] = set()
    shape: tuple[int, ...] | None = None
    small: list[Path] = []
    for shard, problem in check_each("shard", foreign):
        tick(1)
        if problem:
            merged.problems.append(problem)
            continue
        try:
            spec = read_spec(shard) if store is None else store.spec_json
            if fingerprint_of(spec) != fingerprint:
                raise FormatError(f"{shard} lies in the folder of another spec.")
            if store is None:
                store = FeatureStore(cache, spec)
                known, shape = store.digests(), store.feature_shape()
            rows = read_rows(shard, spec)
            if shape not in (None, rows.features.shape[1:]):
                raise FormatError(f"{shard} holds features of another shape than those here.")
        except FileNotFoundError:
            continue
        except FormatError as error:
            merged.problems.append(error.cause)
            continue
        shape, new = rows.features.shape[1:], []
        for row, digest in enumerate(digest_bytes(rows.digests)):
            if digest not in known:
                known.add(digest)
                new.append(row)
        if new:
            path = store.add_shard(rows.digests[new], rows.features[new])
            if len(new) < rows_of_a_full_shard(rows.features):
                small.append(path)
            merged.images[fingerprint] = merged.images.get(fingerprint, 0) + len(new)
    if store is not None and len(small) > 1:
        store.rewrite(small)


def _merge_manifest(workspace: Workspace, path: Path, merged: Merged) -> str | None:
    """Take in a data set of another workspace, and return its name here; None if it is refused."""
    if (found := _read_foreign(path, merged)) is None:
        return None
    theirs, when = found
    root_hash = hashlib.sha256(os.fsencode(theirs.root)).hexdigest()[:6]
    for name in (theirs.name, f"{theirs.name}-{root_hash}"):
        target = workspace.manifest_path(name)
        if not target.exists():
            _save_as_of(when, dataclasses.replace(theirs, name=name), target)
            merged.datasets.append(name)
            return name
        if Manifest.load(target).root == theirs.root:
            merged.left_out.append(theirs.name)
            return name
    merged.left_out.append(theirs.name)
    return None


def _merge_part(workspace: Workspace, path: Path, merged: Merged) -> None:
    """Take in what another workspace knows of a part, unless there is something newer here."""
    target = workspace.parts / path.name
    if (found := _read_foreign(path, merged)) is None:
        return
    theirs, when = found
    if not target.exists() or target.stat().st_mtime_ns < when:
        _save_as_of(when, theirs, target)
        merged.parts += 1


def _read_foreign(path: Path, merged: Merged) -> tuple[Manifest, int] | None:
    """Return a manifest of another workspace and its time; None if it is refused or gone."""
    try:
        when, theirs = path.stat().st_mtime_ns, Manifest.load(path)
        if path.parent.name == "datasets" and theirs.name != path.stem:
            raise FormatError(f"{path} says that it is data set {theirs.name!r}.")
        check_slug(theirs.name, "data set name")
    except FileNotFoundError:
        return None
    except (DataError, FormatError) as error:
        merged.problems.append(error.cause)
        return None
    return theirs, when


def _save_as_of(when: int, manifest: Manifest, target: Path) -> None:
    """Save with the time of before: a merge is no reason to change which is the latest data set."""
    manifest.save(target)
    with contextlib.suppress(OSError):
        os.utime(target, ns=(when, when))


def _merge_corrections(
    workspace: Workspace, name: str, other: Workspace, its_name: str, merged: Merged
) -> None:
    """Take in corrections of a data set that there are none of here; those here stay."""
    try:
        theirs = other.corrections(its_name).by_path
        ours = workspace.corrections(name).by_path
    except FormatError as error:
        merged.problems.append(error.cause)
        return
    if new := theirs.keys() - ours.keys():
        both = Corrections(name, {**theirs, **ours})
        both.save(workspace.corrections_path(name))
        merged.corrections[name] = len(new)
