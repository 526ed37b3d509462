"""What ``features="auto"`` chooses among: layers of one backbone, each alone and all side by side.

Which of them a fit takes, `tlx.classify.scoring.choice` says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..cache.manifest import Manifest
from ..cache.spec import FeatureSpec
from ..cache.store import FeatureStore
from ..errors import DataError
from ..workspace import Workspace
from .large import is_large
from .sources import AUTO, Source, choose_sources, embed_command, name_of
from .table import Features, load_table

_LAST = FeatureSpec("", "", "", 1).layer
# A layer to try first, by backbone: what helped on handwritten digits.
_EARLIER = {"efficientnet-lite0": "block14_add"}


def load_candidates(
    workspace: Workspace,
    dataset: str | None = None,
    features: str | None = None,
    *,
    views: int = 0,
    tta: int = 0,
    allow_missing: bool = False,
) -> list[Features]:
    """Return the tables to choose among, all of the same rows, the simplest first.

    Unless `features` is ``"auto"`` it is a single one: see `tlx.classify.table.load_table`.

    Parameters
    ----------
    workspace : Workspace
    dataset, features : str, optional
    views, tta : int, default=0
    allow_missing : bool, default=False

    Returns
    -------
    list of Features
        Of ``"auto"``: each layer alone, the last one first; then all of them side by side.

    Raises
    ------
    DataError
        If only one layer of the backbone is embedded. Also see `load_table`.
    """
    options: dict[str, Any] = {"views": views, "tta": tta, "allow_missing": allow_missing}
    if features != AUTO:
        return [load_table(workspace, dataset, features, **options)]
    manifest = workspace.load_manifest(dataset)
    sources = cached_layers(manifest)
    joined = load_table(workspace, manifest, name_of(sources), **options)
    shapes = [FeatureStore(workspace.cache, source["spec"]).feature_shape() for source in sources]
    ends = np.cumsum([shape[0] for shape in shapes if shape])[:-1]
    X = np.split(joined.X, ends, axis=1)
    if not is_large(joined.X):
        X = [np.ascontiguousarray(part) for part in X]
    means = [None] * len(X) if joined.X_tta is None else np.split(joined.X_tta, ends, axis=1)
    alone = zip(sources, X, means, strict=True)
    return [*(replace(joined, X=x, X_tta=m, sources=[source]) for source, x, m in alone), joined]


def cached_layers(manifest: Manifest) -> list[Source]:
    """Return the sources that differ from the one embedded last in their layer alone.

    The last layer comes first, or that embedded last if this is not among them.

    Raises
    ------
    DataError
        If there is one only.
    """
    latest = choose_sources(manifest, None)[0]
    spec = FeatureSpec.from_json(latest["spec"])
    layers = {
        other.layer: source
        for source in manifest.sources[::-1]
        if (other := FeatureSpec.from_json(source["spec"])).difference(spec).keys() <= {"layer"}
    }
    if len(layers) < 2:
        other = _LAST if spec.layer != _LAST else _EARLIER.get(spec.backbone, "LAYER")
        raise DataError(
            f"of {spec.backbone} data set {manifest.name!r} has the features of one layer only, "
            f"{spec.layer}: there is nothing to choose.",
            f"Embed another layer first: {embed_command(latest, manifest.root, layer=other)}",
        )
    return sorted(layers.values(), key=lambda source: source is not layers.get(_LAST))
