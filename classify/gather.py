"""The features of images, gathered in their order: in memory, or mapped from a file of their own.

Many images come block by block into one file of the workspace (`tlx.cache.matrix`), which is made
once for all heads. It is named by the features and the images, in their order; what is damaged or
of other images is made anew. Nothing of it cannot be made again, so all but the latest few are
dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from ..cache.identity import canonical_json
from ..cache.manifest import Manifest
from ..cache.matrix import drop_oldest, read_matrix, write_matrix
from ..cache.spec import FeatureSpec
from ..cache.store import FeatureStore
from ..errors import DataError, StorageError
from ..workspace import Workspace
from . import large
from .sources import Source, embed_command, mean_of, mean_views, name_of, view_specs

_KEPT = 2  # files: each is as large as the features


def gather(
    workspace: Workspace, part: Manifest, sources: list[Source], views: int = 0
) -> np.ndarray:
    """Return the features (N (1 + views), D) float32 of all images of a manifest.

    Parameters
    ----------
    workspace : Workspace
    part : Manifest
    sources : list of dict
        Side by side.
    views : int, default=0
        So many augmented views of all images follow the plain images.

    Returns
    -------
    ndarray or memmap
        The latter, read-only, where they are many: see `tlx.classify.large.are_large`.

    Raises
    ------
    DataError
        If an image lacks a feature, or those are maps.
    StorageError
        If the disk is full.
    """
    stores = {
        spec.json: FeatureStore(workspace.cache, spec.json)
        for source in sources
        for spec in view_specs(source, views)
    }
    lengths = [_length(stores[source["spec"]], part) for source in sources]
    _check_views(stores, part, sources, views)
    n, columns = len(part) * (1 + views), sum(lengths)
    if not large.are_large(n, columns):
        found = [_rows(stores, part, sources, k) for k in range(1 + views)]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def blocks() -> Iterator[np.ndarray]:
        for k in range(1 + views):
            for rows in large.blocks_of(len(part), columns):
                some = part.subset(np.arange(rows.start, rows.stop))
                yield _rows(stores, some, sources, k)

    key = _key(part, sources, views)
    path = workspace.tables / f"{key}.f32"
    if (found := read_matrix(path, key)) is None:
        write_matrix(path, key, blocks(), 4 * n * columns)
        drop_oldest(workspace.tables, _KEPT)
        found = read_matrix(path, key)
    if found is None:
        raise StorageError(
            f"{path} is not what was written to it.",
            "Check the disk of this machine, then run the same command again.",
        )
    return found


def _key(part: Manifest, sources: list[Source], views: int) -> str:
    """Return what is equal where the same matrix comes out."""
    images = hashlib.sha256(np.ascontiguousarray(part.digest).tobytes()).hexdigest()
    told = {"features": name_of(sources), "views": views, "images": images}
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()


def _length(store: FeatureStore, part: Manifest) -> int:
    """Return D of a store's features, which are vectors."""
    shape = store.feature_shape()
    if shape is None:
        store.check(part.digest_bytes())
        return 0
    if len(shape) != 1:
        raise DataError(
            f"the features of {part.name!r} are maps of shape {shape}, not vectors.",
            "Run tlx embed with --pooling avg (or max, avg+max, flatten).",
        )
    return shape[0]


def _check_views(
    stores: dict[str, FeatureStore], part: Manifest, sources: list[Source], views: int
) -> None:
    """Refuse images that lack an augmented view."""
    for source in sources:
        specs: list[FeatureSpec] = view_specs(source, views)
        for spec in specs[1:]:
            missing = int((~stores[spec.json].has(part.digest_bytes())).sum())
            if missing:
                raise DataError(
                    f"{missing} of {len(part)} images of data set {part.name!r} have no augmented "
                    f"view {spec.view} of {spec.backbone}.",
                    f"Run {embed_command(source, part.root, len(specs) - 1)}",
                )


def _rows(
    stores: dict[str, FeatureStore], part: Manifest, sources: list[Source], k: int
) -> np.ndarray:
    """Return the features (N, D) float32 of all sources side by side, of the k-th view."""
    digests = part.digest_bytes()
    columns = []
    for source in sources:
        if mean_views(source):
            specs = view_specs(source)
            columns.append(mean_of(stores[spec.json].gather(digests) for spec in specs))
        else:
            spec = view_specs(source, k)[k]
            columns.append(stores[spec.json].gather(digests))
    joined = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
    return joined.astype(np.float32, copy=False)
