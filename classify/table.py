"""The labelled features that heads learn from, gathered from a workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..cache.manifest import Manifest
from ..cache.store import FeatureStore
from ..errors import DataError, UnknownNameError
from ..workspace import Workspace


@dataclass
class FeatureTable:
    """N labelled images with D features each.

    Attributes
    ----------
    X : ndarray of shape (N, D), float32
    y : ndarray of shape (N,), int64
        Indices into `class_names`.
    split : ndarray of shape (N,), str
        ``"train"``, ``"validation"``, ``"test"`` or ``""``.
    groups : ndarray of shape (N,), int64
        Images of one group (byte-identical, or of one ``group`` in the manifest) share a number.
    digest : ndarray of shape (N, 32), uint8
    path : list of N str
    class_names : tuple of C str
        Only classes that have an image here.
    dataset, root : str
        Name of the data set and the folder its paths are relative to.
    source : dict
        ``fingerprint``, ``spec`` and ``weights`` of the features.
    """

    X: np.ndarray
    y: np.ndarray
    split: np.ndarray
    groups: np.ndarray
    digest: np.ndarray
    path: list[str]
    class_names: tuple[str, ...]
    dataset: str
    root: str
    source: dict[str, str]

    def __len__(self) -> int:
        return len(self.y)


def load_table(
    place: Workspace,
    dataset: str | None = None,
    fingerprint: str | None = None,
    splits: Iterable[str] = ("train", "validation", ""),
) -> FeatureTable:
    """Gather the labelled, readable images of a data set with their cached features.

    Parameters
    ----------
    place : Workspace
    dataset : str, optional
        Its name; by default the one embedded last.
    fingerprint : str, optional
        The first digits of the features' fingerprint; by default the spec embedded last.
    splits : iterable of str
        Which splits to take. ``"test"`` is left to a final evaluation by default.

    Returns
    -------
    FeatureTable
        In the order of the manifest.

    Raises
    ------
    DataError
        If the data set has no labels, or images whose features are missing, as after an
        interrupted run.
    UnknownNameError
        If there is no such data set or fingerprint.
    """
    manifest = place.load_manifest(dataset)
    source = _source(manifest, fingerprint)
    if not manifest.class_names:
        raise DataError(
            f"data set {manifest.name!r} has no labels: its images lie in no class folders.",
            "Put them in one folder a class, or list path,label in a CSV, and run tlx embed again.",
        )
    _check_finished(manifest)
    wanted = set(splits)
    in_splits = np.array([split in wanted for split in manifest.split])
    rows = np.flatnonzero(manifest.usable & (manifest.label >= 0) & in_splits)
    part = manifest.subset(rows)
    if not len(part):
        raise DataError(
            f"data set {manifest.name!r} has no labelled image that can be read.",
            f"Run tlx embed {manifest.root} and look at what it reports.",
        )
    X = FeatureStore(place.cache, source["spec"]).gather(part.digest_bytes())
    if X.ndim != 2:
        raise DataError(
            f"the features of {manifest.name!r} are maps of shape {X.shape[1:]}, not vectors.",
            "Run tlx embed with --pooling avg (or max, avg+max, flatten).",
        )
    present, y = np.unique(part.label, return_inverse=True)
    return FeatureTable(
        X=X.astype(np.float32, copy=False),
        y=y.astype(np.int64),
        split=np.array(part.split),
        groups=group_images(part),
        digest=part.digest,
        path=part.path,
        class_names=tuple(part.class_names[label] for label in present),
        dataset=part.name,
        root=part.root,
        source=source,
    )


def group_images(manifest: Manifest) -> np.ndarray:
    """Return the group of each image as a number, shape (N,) int64.

    Two images are of one group if they have the same bytes or the same ``group``, directly or
    through others: a copy of one patient's image ties that patient to another.
    """
    parent = list(range(len(manifest)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[object, int] = {}
    for row, (digest, group) in enumerate(
        zip(manifest.digest_bytes(), manifest.group, strict=True)
    ):
        for key in (digest, group) if group else (digest,):
            parent[find(row)] = find(first.setdefault(key, row))
    roots = [find(row) for row in range(len(manifest))]
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def stratified_group_folds(
    y: np.ndarray,
    groups: np.ndarray,
    n_folds: int,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Deal images into folds so that groups stay whole and every fold has its share of each class.

    Groups are dealt in random order, large ones first, each to the fold that has the fewest of the
    group's classes so far; among those to the smallest fold. For groups of one image this is a
    stratified split whose folds differ by at most one image of a class.

    Parameters
    ----------
    y : ndarray of shape (N,), int
        Class indices.
    groups : ndarray of shape (N,), int
    n_folds : int
    seed : int, default=0
    class_names : sequence of str, optional
        For the message of the error.

    Returns
    -------
    ndarray of shape (N,), int64
        The fold of each image, 0 to ``n_folds - 1``.

    Raises
    ------
    DataError
        If a class has fewer groups than folds.
    """
    _check_folds(y, groups, n_folds, class_names)
    _, group_of = np.unique(groups, return_inverse=True)
    members: list[list[int]] = [[] for _ in range(group_of.max() + 1)]
    for row, group in enumerate(group_of):
        members[group].append(row)
    order = np.random.default_rng(seed).permutation(len(members))
    order = sorted(order, key=lambda g: -len(members[g]))
    taken = np.zeros((n_folds, y.max() + 1))  # images of each class in each fold
    total = np.zeros(n_folds)
    fold = np.empty(len(y), np.int64)
    for group in order:
        rows = members[group]
        counts = Counter(y[rows].tolist())
        load = taken[:, list(counts)] @ list(counts.values())
        best = np.lexsort((total, load))[0]
        for label, count in counts.items():
            taken[best, label] += count
        total[best] += len(rows)
        fold[rows] = best
    return fold


def groups_per_class(y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return how many independent groups each class index has, shape (max(y) + 1,) int."""
    pairs = np.unique(np.stack([y, groups]), axis=1)
    return np.bincount(pairs[0])


def _check_folds(
    y: np.ndarray, groups: np.ndarray, n_folds: int, class_names: Sequence[str] | None
) -> None:
    if n_folds < 2:
        raise DataError(f"{n_folds} folds are too few.", "Use --folds 2 or more.")
    counts = groups_per_class(y, groups)
    counts = np.where(np.bincount(y) > 0, counts, n_folds)  # an absent class asks for nothing
    label = int(counts.argmin())
    smallest = int(counts[label])
    if smallest >= n_folds:
        return
    name = class_names[label] if class_names else label
    raise DataError(
        f"class {name!r} has {smallest} independent image(s), fewer than the {n_folds} folds "
        "(copies and images of one group count once).",
        f"Add images, or use --folds {smallest}."
        if smallest >= 2
        else f"Add images of {name!r}, or remove the class: two a class are the least.",
    )


def _check_finished(manifest: Manifest) -> None:
    """Refuse what an interrupted run left: images go class by class, so whole classes may lack."""
    unread = ~manifest.hashed & np.array([not error for error in manifest.error], bool)
    if unread.any():
        raise DataError(
            f"data set {manifest.name!r} is not embedded to the end: {unread.sum()} of "
            f"{len(manifest)} images are missing.",
            f"Run tlx embed {manifest.root} again: it goes on where it stopped.",
        )


def _source(manifest: Manifest, fingerprint: str | None) -> dict[str, str]:
    if not manifest.sources:
        raise DataError(
            f"data set {manifest.name!r} has no features yet.", f"Run tlx embed {manifest.root}"
        )
    if fingerprint is None:
        return manifest.sources[-1]
    matches = [s for s in manifest.sources if s["fingerprint"].startswith(fingerprint)]
    if len(matches) != 1:
        known = [s["fingerprint"][:12] for s in manifest.sources]
        raise UnknownNameError.nearest("fingerprint", fingerprint, known)
    return matches[0]
