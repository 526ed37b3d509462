"""The labelled features that heads learn from, gathered from a workspace."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ..cache.groups import group_images
from ..cache.identity import canonical_json
from ..cache.manifest import Manifest
from ..cache.store import FeatureStore
from ..errors import DataError, UnknownNameError
from ..workspace import Workspace


@dataclass
class FeatureTable:
    """N rows of D features, each of a labelled image or of an augmented view of one.

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
    sources : list of dict
        ``fingerprint``, ``spec`` and ``weights`` of the features; several where those of several
        backbones are joined, in the order of the columns of `X`.
    view : ndarray of shape (N,), int64
        0 for a plain image, k for its k-th augmented view. Views are learned from, never scored.
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
    sources: list[dict[str, str]]
    view: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.view) != len(self.y):
            self.view = np.zeros(len(self.y), np.int64)

    def __len__(self) -> int:
        return len(self.y)


def load_table(
    workspace: Workspace,
    dataset: str | Manifest | None = None,
    features: str | None = None,
    splits: Iterable[str] = ("train", "validation", ""),
    views: int = 0,
    allow_missing: bool = False,
) -> FeatureTable:
    """Gather the labelled, readable images of a data set with their cached features.

    Parameters
    ----------
    workspace : Workspace
    dataset : str or Manifest, optional
        Its name, or itself; by default the one embedded last.
    features : str, optional
        A backbone's name, or the first digits of a fingerprint; several joined by ``+``. By default
        the spec embedded last.
    splits : iterable of str
        Which splits to take. ``"test"`` is left to a final evaluation by default.
    views : int, default=0
        So many augmented views of each image are appended, after all plain images.
    allow_missing : bool, default=False
        Go on without the images that have no features yet.

    Returns
    -------
    FeatureTable
        In the order of the manifest.

    Raises
    ------
    DataError
        If `views` is negative, the data set has no labels, or images whose features are missing, as
        after an interrupted run.
    UnknownNameError
        If there is no such data set, backbone or fingerprint.
    """
    if views < 0:
        raise DataError(f"{views} augmented views.", "Use 0 or more.")
    known = isinstance(dataset, Manifest)
    manifest = dataset if known else workspace.load_manifest(dataset)
    sources = choose_sources(manifest, features)
    if not manifest.class_names:
        raise DataError(
            f"data set {manifest.name!r} has no labels: its images lie in no class folders.",
            "Put them in one folder a class, or list path,label in a CSV, and run tlx embed again.",
        )
    if not allow_missing:
        _check_finished(manifest)
    wanted = set(splits)
    in_splits = np.array([split in wanted for split in manifest.split])
    rows = np.flatnonzero(manifest.usable & (manifest.label >= 0) & in_splits)
    part = manifest.subset(rows)
    if allow_missing:
        part = part.subset(np.flatnonzero(_embedded(workspace, part, sources, views)))
    if not len(part):
        raise DataError(
            f"data set {manifest.name!r} has no labelled image that can be read.",
            f"Run tlx embed {manifest.root} and look at what it reports.",
        )
    present, y = np.unique(part.label, return_inverse=True)
    times = 1 + views
    return FeatureTable(
        X=_gather(workspace, part, sources, views),
        y=np.tile(y.astype(np.int64), times),
        split=np.tile(np.array(part.split), times),
        groups=np.tile(group_images(part), times),
        digest=np.tile(part.digest, (times, 1)),
        path=part.path * times,
        view=np.repeat(np.arange(times), len(part)),
        class_names=tuple(part.class_names[label] for label in present),
        dataset=part.name,
        root=part.root,
        sources=sources,
    )


def _check_finished(manifest: Manifest) -> None:
    """Refuse what an interrupted run left: images go class by class, so whole classes may lack."""
    unread = ~manifest.hashed & np.array([not error for error in manifest.error], bool)
    if unread.any():
        raise DataError(
            f"data set {manifest.name!r} is not embedded to the end: {unread.sum()} of "
            f"{len(manifest)} images are missing.",
            f"Run tlx embed {manifest.root} again: it goes on where it stopped. Or go on with what "
            "there is: --allow-missing",
        )


def _embedded(
    workspace: Workspace, part: Manifest, sources: list[dict[str, str]], views: int
) -> np.ndarray:
    """Return which images have all their features, shape (N,) bool."""
    digests, found = part.digest_bytes(), np.ones(len(part), bool)
    for source in sources:
        spec = json.loads(source["spec"])
        for k in range(views + 1):
            found &= FeatureStore(workspace.cache, canonical_json({**spec, "view": k})).has(digests)
    return found


def _gather(
    workspace: Workspace, part: Manifest, sources: list[dict[str, str]], views: int
) -> np.ndarray:
    """Return the features (N (1 + views), D) of all sources side by side, in one array."""
    digests = part.digest_bytes()
    columns: list[list[np.ndarray]] = []
    for source in sources:
        spec = json.loads(source["spec"])
        blocks = []
        for k in range(views + 1):
            store = FeatureStore(workspace.cache, canonical_json({**spec, "view": k}))
            if k and not store.shards():
                raise DataError(
                    f"data set {part.name!r} has no augmented view {k} of {spec['backbone']}.",
                    f"Run tlx embed {part.root} --views {views}",
                )
            blocks.append(store.gather(digests))
        if blocks[0].ndim != 2:
            raise DataError(
                f"the features of {part.name!r} are maps of shape {blocks[0].shape[1:]}, not "
                "vectors.",
                "Run tlx embed with --pooling avg (or max, avg+max, flatten).",
            )
        columns.append(blocks)
    if len(columns) == 1 and not views:
        return columns[0][0].astype(np.float32, copy=False)
    return np.block([list(row) for row in zip(*columns, strict=True)]).astype(
        np.float32, copy=False
    )


def choose_sources(manifest: Manifest, features: str | None) -> list[dict[str, str]]:
    """Return the sources that `features` names; of a backbone embedded twice the latest.

    Parameters
    ----------
    manifest : Manifest
    features : str or None
        A backbone's name, or the first digits of a fingerprint; several joined by ``+``. None for
        the spec embedded last.

    Raises
    ------
    DataError
        If the data set has no features.
    UnknownNameError
        If there is no such backbone or fingerprint.
    """
    if not manifest.sources:
        raise DataError(
            f"data set {manifest.name!r} has no features yet.", f"Run tlx embed {manifest.root}"
        )
    if features is None:
        return [manifest.sources[-1]]
    names = [json.loads(source["spec"])["backbone"] for source in manifest.sources]
    chosen = []
    for wanted in features.split("+"):
        matches = [
            source
            for source, name in zip(manifest.sources, names, strict=True)
            if name == wanted or source["fingerprint"].startswith(wanted)
        ]
        if not wanted or not matches:
            raise UnknownNameError.nearest("features", wanted, names)
        chosen.append(matches[-1])
    return chosen
