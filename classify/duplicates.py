"""Near-duplicates of a data set: looked for once, kept in the workspace, joined and counted.

Finding them takes longer the more images there are, so what was found is kept: a file that is named
by the method, the features and the images.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..cache.files import write_atomic
from ..cache.hdf5 import USER_BLOCK, memory_file, open_checked, read_column, sealed_image
from ..cache.identity import canonical_json
from ..cache.manifest import Manifest
from ..errors import FormatError, StorageError, UnknownNameError
from ..workspace import Workspace
from . import cosine
from .cosine import main_directions
from .gather import gather
from .near import METHOD, NearPairs, find_near_pairs
from .sources import Source, name_of, plain
from .table import Features, embedded_rows, load_table

HANDLING = ("ignore", "group")
SPLITS = ("train", "validation", "test", "")
_UNASKED = 10_000  # images that are searched without being asked for, in 2 s
_PAIRS_EACH = (
    75_000  # pairs that are looked at in a tenth of the time that embedding an image takes
)
_FORMAT, _VERSION = "tlx-near", 1
_KEPT = 16  # files; of those looked at less recently than these the pairs are found anew


@dataclass(frozen=True)
class ToldDuplicates:
    """What a run tells of near-duplicates.

    Attributes
    ----------
    handling : {"ignore", "group"}
        Whether they were kept on one side.
    across : int
        Images scored that are near-duplicates of one that their head learned from.
    """

    handling: str
    across: int

    @classmethod
    def from_json(cls, found: dict[str, Any] | None) -> ToldDuplicates | None:
        """Return what ``run.json`` says; old runs say nothing."""
        return None if found is None else cls(found["handling"], found["across"])


def are_grouped(told: ToldDuplicates | None) -> bool:
    """Return whether a run that tells this kept near-duplicates on one side; old runs did not."""
    return told is not None and told.handling == "group"


@dataclass(frozen=True, eq=False)
class Duplicates:
    """The near-duplicates among the plain images of one or several tables. N rows.

    Attributes
    ----------
    image : ndarray of shape (N,), int64
        Number of each row's image: rows of one file have the same.
    pairs : NearPairs
        Of such numbers, the most similar pair first.
    grouped : bool
        Whether near-duplicates are of one group in what is learned from.
    """

    image: np.ndarray
    pairs: NearPairs
    grouped: bool = False

    def join(self, groups: np.ndarray) -> np.ndarray:
        """Return the groups (N,) with those joined that have near-duplicates of each other."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        first = np.unique(self.image, return_index=True)[1]
        names, group = np.unique(groups, return_inverse=True)
        a, b = group[first[self.pairs.first]], group[first[self.pairs.second]]
        edges = coo_array((np.ones(len(a)), (a, b)), shape=(len(names), len(names)))
        return connected_components(edges, directed=False)[1][group].astype(np.int64)

    def learned(self, scored: np.ndarray, learned: np.ndarray) -> int:
        """Return how many of the rows `scored` are near-duplicates of any of the rows `learned`."""
        is_learned = np.zeros(self.image.max(initial=-1) + 1, bool)
        is_learned[self.image[learned]] = True
        flattered = np.zeros_like(is_learned)
        a, b = self.pairs.first, self.pairs.second
        flattered[a[is_learned[b]]] = True
        flattered[b[is_learned[a]]] = True
        return int(flattered[self.image[scored]].sum())

    def told(self, rows: np.ndarray, fold: np.ndarray, trained_on: np.ndarray) -> ToldDuplicates:
        """Return how many scored rows are near-duplicates of one that their head learned from.

        Parameters
        ----------
        rows, fold : ndarray of shape (M,), int
            What was scored, and by which fit.
        trained_on : ndarray of int
            What was learned from if there is one fit alone; each of several folds is scored by what
            learned from the others. Augmented views come after all N rows, N at a time.
        """
        folds = np.unique(fold)
        if len(folds) < 2:
            across = self.learned(rows, trained_on % len(self.image))
        else:
            across = sum(self.learned(rows[fold == k], rows[fold != k]) for k in folds)
        return ToldDuplicates("group" if self.grouped else "ignore", across)


def find_duplicates(workspace: Workspace, *parts: tuple[Manifest, Features]) -> Duplicates:
    """Find the near-duplicates among the plain images of tables, or read what was found before.

    They are looked for among all images of the data sets, whatever split and label these have, by
    the first of the features: so one search serves all commands.

    Parameters
    ----------
    workspace : Workspace
    *parts : (Manifest, Features)
        Tables with the same kind of features, and the manifests that know their pictures.

    Returns
    -------
    Duplicates
        Of the rows of all tables, one after another; augmented views are left out.
    """
    found = _find(workspace, parts, limit=None)
    assert found is not None, "there is no limit"
    return found


def find_duplicates_unasked(
    workspace: Workspace, *parts: tuple[Manifest, Features]
) -> Duplicates | None:
    """Do the same, but search no more than 10,000 images: that takes time with their square.

    Of more images there is None, unless a search was asked for before.
    """
    return _find(workspace, parts, limit=_UNASKED)


def count_near(
    workspace: Workspace,
    scored: tuple[Manifest, Features],
    rows: np.ndarray,
    manifest: Manifest,
    learned: np.ndarray,
) -> int | None:
    """Return how many of the rows of a table are nearly the same as what was learned from.

    Parameters
    ----------
    workspace : Workspace
    scored : (Manifest, Features)
    rows : ndarray of int
    manifest : Manifest
        That of what was learned from; it may be the same data set.
    learned : ndarray of shape (L, 32), uint8
        Digests of it, each as often as it likes.

    Returns
    -------
    int or None
        None if none of what was learned from has features any more, or if there are too many images
        to search them unasked.
    """
    its, table = scored
    both = [its] if manifest is its else [its, manifest]
    looked = _look(workspace, _source(table), both, limit=_UNASKED)
    if looked is None:
        return None
    known, pairs = looked
    images = np.flatnonzero(np.isin(known, _whole(learned)))
    if not len(images):
        return None
    own = np.searchsorted(known, _whole(table.digest))
    found = _only(Duplicates(np.r_[own, images], pairs))
    return found.learned(rows, len(own) + np.arange(len(images)))


def _find(
    workspace: Workspace, parts: Sequence[tuple[Manifest, Features]], limit: int | None
) -> Duplicates | None:
    manifests = [manifest for manifest, _ in parts]
    looked = _look(workspace, _source(parts[0][1]), manifests, limit)
    if looked is None:
        return None
    known, pairs = looked
    mine = np.concatenate([table.digest[table.view == 0] for _, table in parts])
    return _only(Duplicates(np.searchsorted(known, _whole(mine)), pairs))


def _source(table: Features) -> Source:
    """Return the features that are compared."""
    return plain(table.sources[0])


def _look(
    workspace: Workspace, source: Source, manifests: Sequence[Manifest], limit: int | None
) -> tuple[np.ndarray, NearPairs] | None:
    """Return the digests of all images that have features, in order, and the pairs of them."""
    rows = [embedded_rows(workspace, manifest, [source]) for manifest in manifests]
    among = [manifest.digest[some] for manifest, some in zip(manifests, rows, strict=True)]
    known, first = np.unique(_whole(np.concatenate(among)), return_index=True)
    digest = np.frombuffer(known.tobytes(), np.uint8).reshape(-1, 32)
    thumbs, measured = _pictures(manifests, digest)
    path = workspace.near / f"{_key(source, digest, measured)}.h5"
    pairs = _read(path, len(known), bool(measured.all()))
    if pairs is None:
        if limit is not None and len(known) > limit:
            return None
        X = [
            gather(workspace, manifest.subset(some), [source])
            for manifest, some in zip(manifests, rows, strict=True)
        ]
        vectors = main_directions(X) if len(known) > cosine.MANY else np.concatenate(X)
        pairs = find_near_pairs(vectors[first], thumbs, measured)
        with contextlib.suppress(StorageError):  # then it is found again the next time
            _write(path, pairs)
    return known, pairs


def _whole(digest: np.ndarray) -> np.ndarray:
    """Return digests (N, 32) as N values that can be ordered."""
    return np.ascontiguousarray(digest).view("V32").ravel()


def _only(found: Duplicates) -> Duplicates:
    """Return the same with the pairs of those images alone that have a row, numbered anew."""
    pairs = found.pairs
    present, image = np.unique(found.image, return_inverse=True)
    here = np.isin(pairs.first, present) & np.isin(pairs.second, present)
    a, b = (np.searchsorted(present, side[here]) for side in (pairs.first, pairs.second))
    return Duplicates(image, replace(pairs, first=a, second=b, similarity=pairs.similarity[here]))


def search_ahead(workspace: Workspace, dataset: str, fingerprint: str, new: int) -> None:
    """Search a data set that was just embedded, so that nothing has to later; labels do not matter.

    Above 10,000 images only where that takes little beside what embedding took: a few images that
    come to many are no reason to look at all of them.

    Parameters
    ----------
    workspace : Workspace
    dataset : str
    fingerprint : str
        Of the features, which must be vectors.
    new : int
        Images that were embedded or measured.
    """
    manifest = workspace.load_manifest(dataset)
    if len(manifest) > max(_UNASKED, math.sqrt(_PAIRS_EACH * new)):
        return
    if (manifest.usable & (manifest.label >= 0)).any():
        table = load_table(workspace, manifest, fingerprint, SPLITS, allow_missing=True)
        find_duplicates(workspace, (manifest, table))


def handle_duplicates(
    workspace: Workspace,
    tables: list[Features],
    handling: str,
    sources: Sequence[Source] | None = None,
) -> tuple[list[Features], Duplicates | None]:
    """Find the near-duplicates of a data set, and join them to groups if asked for.

    Parameters
    ----------
    workspace : Workspace
    tables : list of Features
        The same rows with different features, of which the first are looked at.
    handling : {"ignore", "group"}
    sources : sequence of Source, optional
        Features that say what is joined, so that another run's folds come out.

    Returns
    -------
    tables : list of Features
    found : Duplicates or None
        None if there are too many images to search them unasked.
    """
    manifest = workspace.load_manifest(tables[0].dataset)
    if handling != "group":
        return tables, find_duplicates_unasked(workspace, (manifest, tables[0]))
    found = find_duplicates(workspace, (manifest, tables[0]))
    by = found
    if sources is not None and name_of(sources) != name_of(tables[0].sources):
        other = load_table(workspace, manifest, name_of(sources), allow_missing=True)
        by = find_duplicates(workspace, (manifest, other))
        if by.image.shape != found.image.shape:
            by = found
    return [_joined(table, by) for table in tables], replace(found, grouped=True)


def _joined(table: Features, found: Duplicates) -> Features:
    """Return the table with near-duplicates, and their augmented views, in one group."""
    n = len(found.image)
    return replace(table, groups=np.tile(found.join(table.groups[:n]), len(table) // n))


def check_handling(handling: str) -> None:
    """Refuse what is no way to treat near-duplicates."""
    if handling not in HANDLING:
        raise UnknownNameError.nearest("handling of near-duplicates", handling, HANDLING)


def _pictures(manifests: Sequence[Manifest], digest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the small pictures (N, S, S) of digests (N, 32), and which were measured, (N,)."""
    thumbs, measured = None, np.zeros(len(digest), bool)
    wanted = {bytes(row): place for place, row in enumerate(digest)}
    for manifest in manifests:
        found = manifest.pictures["thumb"]
        if thumbs is None:
            thumbs = np.zeros((len(digest), *found.shape[1:]), np.uint8)
        digests = manifest.digest_bytes()
        rows = [row for row in np.flatnonzero(manifest.measured).tolist() if digests[row] in wanted]
        places = [wanted[digests[row]] for row in rows]
        thumbs[places] = found[rows]
        measured[places] = True
    assert thumbs is not None, "there is a table at least"
    return thumbs, measured


def _key(source: Source, digest: np.ndarray, measured: np.ndarray) -> str:
    """Return what is equal where the same pairs come out."""
    images = hashlib.sha256(np.ascontiguousarray(digest).tobytes() + measured.tobytes())
    told = {"method": METHOD, "features": source["fingerprint"], "images": images.hexdigest()}
    if len(digest) > cosine.MANY:  # other pairs than those of all compared with all
        told["search"] = "cells"
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()


def _read(path: Path, n: int, by_picture: bool) -> NearPairs | None:
    """Return the pairs that were kept; None if there are none, or the file is not to be trusted."""
    try:
        with open_checked(path, _FORMAT, _VERSION) as file:
            pairs = read_column(path, file, "pairs", np.int64, (-1, 2))
            similarity = read_column(path, file, "similarity", np.float32, (len(pairs),))
    except (FileNotFoundError, FormatError, StorageError):
        return None
    if len(pairs) and not 0 <= pairs.min() <= pairs.max() < n:
        return None
    with contextlib.suppress(OSError):
        path.touch()
    return NearPairs(pairs[:, 0], pairs[:, 1], similarity, by_picture, n <= cosine.MANY)


def _write(path: Path, pairs: NearPairs) -> None:
    with memory_file(USER_BLOCK) as file:
        file.create_dataset("pairs", data=np.stack([pairs.first, pairs.second], axis=1))
        file.create_dataset("similarity", data=pairs.similarity)
        write_atomic(path, sealed_image(file, _FORMAT, _VERSION))
    with contextlib.suppress(OSError):
        others = sorted(path.parent.glob("[0-9a-f]*.h5"), key=lambda p: p.stat().st_mtime_ns)
        for old in others[:-_KEPT]:
            old.unlink()
