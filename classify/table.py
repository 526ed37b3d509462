"""The labelled features that heads learn from, gathered from a workspace."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..arguments import says_nearest_argument
from ..cache.files import write_output
from ..cache.groups import group_images
from ..cache.manifest import Manifest
from ..cache.spec import FeatureSpec
from ..cache.store import FeatureStore
from ..errors import DataError, MissingExtraError
from ..reprs import html_table, listed, readable, shortened
from ..workspace import Workspace, several
from .folds import divide_by_split, stratified_group_folds
from .gather import gather
from .sources import (
    MAX_VIEWS,
    MEAN,
    Source,
    averaged,
    choose_sources,
    mean_views,
    short_name,
    view_specs,
)


@dataclass(repr=False, eq=False)
class Features:
    """N rows of D features, each of a labelled image or of an augmented view of one. C classes.

    Attributes
    ----------
    X : ndarray of shape (N, D), float32
        Of more than 52,000 images of 1,280 features a read-only ``memmap`` of a file in the
        workspace: take rows of it in blocks.
    y : ndarray of shape (N,), int64
        Indices into `class_names`.
    split : ndarray of shape (N,), str
        ``"train"``, ``"validation"``, ``"test"`` or ``""``.
    groups : ndarray of shape (N,), int64
        Images of one group (byte-identical, or of one ``group`` in the manifest) share a number.
    digest : ndarray of shape (N, 32), uint8
    paths : list of N str
        Relative to `root`.
    class_names : tuple of C str
        Only classes that have an image here.
    dataset, root : str
        Name of the data set and the folder its paths are relative to.
    sources : list of dict
        ``fingerprint``, ``spec`` and ``weights`` of the features; several where those of several
        backbones are joined, in the order of the columns of `X`. ``mean_views`` of those that are
        means over augmented views.
    view : ndarray of shape (N,), int64
        0 for a plain image, k for its k-th augmented view. Views are learned from, never scored.
    tta : int
        Test-time augmentation: over how many views of an image the embedding is averaged that it
        is scored by.
    X_tta : ndarray of shape (M, D), float32, or None
        With `tta`: those means, of the M plain images, which are the first M rows.

    Examples
    --------
    >>> import tlx
    >>> data = tlx.load_features("photos")
    >>> data
    <Features of 'photos': 24 images x 1280, efficientnet-lite0; blue 12, red 12>
    >>> data.X.shape, data.class_names[data.y[0]], data.paths[0]
    ((24, 1280), 'blue', 'blue/0.png')
    >>> [len(held_out) for train, held_out in data.folds(3)]
    [8, 8, 8]
    """

    X: np.ndarray
    y: np.ndarray
    split: np.ndarray
    groups: np.ndarray
    digest: np.ndarray
    paths: list[str]
    class_names: tuple[str, ...]
    dataset: str
    root: str
    sources: list[Source]
    view: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    tta: int = 0
    X_tta: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.view) != len(self.y):
            self.view = np.zeros(len(self.y), np.int64)

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        classes = listed([f"{name} {n}" for name, n in self._counts()], 6)
        return (
            f"<Features of {shortened(self.dataset)!r}: {len(self)} images x {self.X.shape[1]}, "
            f"{shortened(short_name(self.sources))}; {classes}>"
        )

    def _repr_html_(self) -> str:
        return html_table(repr(self), ["class", "images"], self._counts())

    def _counts(self) -> list[tuple[str, int]]:
        counts = np.bincount(self.y, minlength=len(self.class_names)).tolist()
        return list(zip(self.class_names, counts, strict=True))

    def folds(self, n_folds: int = 5, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the very splits on which ``tlx fit-head`` scores a head, for ``cv=`` elsewhere.

        With a validation split that is one: train without images that are copies of, or of one
        group with, images of validation. Else stratified folds that keep groups whole.

        Parameters
        ----------
        n_folds : int, default=5
            Ignored if there is a validation split.
        seed : int, default=0

        Returns
        -------
        list of (ndarray of int, ndarray of int)
            Rows to learn from, and rows to score; augmented views are never scored.

        Raises
        ------
        DataError
            If a class has fewer groups than folds.
        """
        everything, plain = np.arange(len(self)), self.view == 0
        if (self.split == "validation").any():
            train, validation = divide_by_split(self.split, self.groups)
            return [(everything[train], everything[validation & plain])]
        fold = stratified_group_folds(self.y, self.groups, n_folds, seed, self.class_names)
        return [(everything[fold != k], everything[(fold == k) & plain]) for k in range(n_folds)]

    def to_pandas(self) -> Any:
        """Return a DataFrame: path, label, split, group and view, then a column a feature.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        try:
            import pandas  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtraError.of("pandas", "pandas") from error
        return pandas.DataFrame({**self._columns(), **self._feature_columns()})

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the columns of `to_pandas` as a Parquet file, whole or not at all.

        Raises
        ------
        MissingExtraError
            If pyarrow is not installed.
        StorageError
            If the file cannot be written.
        """
        try:
            import pyarrow  # pyright: ignore[reportMissingImports]
            import pyarrow.parquet  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise MissingExtraError.of("pyarrow", "pandas") from error
        buffer = pyarrow.BufferOutputStream()
        table = pyarrow.table({**self._columns(), **self._feature_columns()})
        pyarrow.parquet.write_table(table, buffer)
        write_output(path, buffer.getvalue().to_pybytes())

    def _columns(self) -> dict[str, Any]:
        return {
            "path": [readable(path) for path in self.paths],
            "label": [self.class_names[label] for label in self.y],
            "split": self.split.tolist(),
            "group": self.groups,
            "view": self.view,
        }

    def _feature_columns(self) -> dict[str, np.ndarray]:
        return {f"feature_{i}": column for i, column in enumerate(self.X.T.copy())}


@says_nearest_argument
def load_features(
    dataset: str | None = None,
    features: str | None = None,
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    splits: str | Iterable[str] = ("train", "validation", ""),
    views: int = 0,
    allow_missing: bool = False,
) -> Features:
    """Return the cached features of a data set with their labels, for one's own models.

    Parameters
    ----------
    dataset : str, optional
        Its name; by default the one embedded last.
    features : str, optional
        A backbone's name, or the first digits of a fingerprint; several joined by ``+``. By default
        the spec embedded last. ``NAME@mean-views`` is the mean of the plain embedding and of all
        augmented views that are cached, one vector an image; ``NAME@mean-views:3`` of three views.
    workspace : path, default=".tlx"
    splits : str or iterable of str
        Which splits to take. ``"test"`` is left to a final evaluation by default.
    views : int, default=0
        So many augmented views of each image are appended, after all plain images.
    allow_missing : bool, default=False
        Go on without the images that have no features yet.

    Returns
    -------
    Features
        In the order of the manifest.

    Raises
    ------
    DataError
        If `views` is negative or beside means of views, the data set has no labels, or images whose
        features are missing, as after an interrupted run.
    UnknownNameError
        If there is no such data set, backbone or fingerprint.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> data = load_features("photos")
    >>> scores = cross_val_score(LogisticRegression(), data.X, data.y, cv=data.folds(3))
    >>> scores.shape
    (3,)
    """
    return load_table(
        Workspace(workspace), dataset, features, several(splits), views, allow_missing
    )


def load_table(
    workspace: Workspace,
    dataset: str | Manifest | None = None,
    features: str | None = None,
    splits: Iterable[str] = ("train", "validation", ""),
    views: int = 0,
    allow_missing: bool = False,
    tta: int = 0,
) -> Features:
    """Gather the labelled, readable images of a data set; see `load_features`.

    `dataset` may be a manifest itself. With `tta` there are the means over so many views as well,
    to score plain images by.
    """
    _check_views(views, tta)
    known = isinstance(dataset, Manifest)
    manifest = dataset if known else workspace.load_manifest(dataset)
    sources = choose_sources(
        manifest, features, lambda spec: _cached_views(workspace, manifest, spec)
    )
    if (views or tta) and any(map(mean_views, sources)):
        raise DataError(
            f"{features} averages augmented views already, for images to learn from and others.",
            f"Leave out either @mean-views or --{'views' if views else 'tta'}.",
        )
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
        part = part.subset(np.flatnonzero(_embedded(workspace, part, sources, max(views, tta))))
    if not len(part):
        raise DataError(
            f"data set {manifest.name!r} has no labelled image that can be read.",
            f"Run tlx embed {manifest.root} and look at what it reports.",
        )
    present, y = np.unique(part.label, return_inverse=True)
    times = 1 + views
    return Features(
        X=gather(workspace, part, sources, views),
        y=np.tile(y.astype(np.int64), times),
        split=np.tile(np.array(part.split), times),
        groups=np.tile(group_images(part), times),
        digest=np.tile(part.digest, (times, 1)),
        paths=part.path * times,
        view=np.repeat(np.arange(times), len(part)),
        class_names=tuple(part.class_names[label] for label in present),
        dataset=part.name,
        root=part.root,
        sources=sources,
        tta=tta,
        X_tta=gather(workspace, part, averaged(sources, tta)) if tta else None,
    )


def _check_views(views: int, tta: int) -> None:
    for number in (views, tta):
        if not 0 <= number <= MAX_VIEWS:
            raise DataError(f"{number} augmented views.", f"Use 0 to {MAX_VIEWS}.")


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


def _cached_views(workspace: Workspace, manifest: Manifest, spec: FeatureSpec) -> int:
    """Return how many augmented views there are of any of the images."""
    digests = manifest.digest_bytes()
    source = {"spec": spec.json, MEAN: MAX_VIEWS}
    for k, one in enumerate(view_specs(source)[1:]):
        if not FeatureStore(workspace.cache, one.json).has(digests).any():
            return k
    return MAX_VIEWS


def _embedded(
    workspace: Workspace, part: Manifest, sources: list[Source], views: int
) -> np.ndarray:
    """Return which images have all their features, shape (N,) bool."""
    digests, found = part.digest_bytes(), np.ones(len(part), bool)
    for source in sources:
        for spec in view_specs(source, views):
            found &= FeatureStore(workspace.cache, spec.json).has(digests)
    return found


def embedded_rows(workspace: Workspace, manifest: Manifest, sources: list[Source]) -> np.ndarray:
    """Return the rows of a manifest that have features of all sources, whatever their label."""
    rows = np.flatnonzero(manifest.hashed)
    return rows[_embedded(workspace, manifest.subset(rows), sources, 0)]
