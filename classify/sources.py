"""Which features a head takes: of which spec, and whether an image is seen once or as a mean.

A source is what a manifest or a run notes of features: ``fingerprint``, ``spec`` and ``weights``.
In a run it may have ``mean_views``, K > 0: an image's vector is then the mean of its plain
embedding and those of its augmented views 1 to K.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from ..cache.manifest import Manifest
from ..cache.spec import FeatureSpec
from ..errors import DataError, UnknownNameError

Source = dict[str, Any]

MEAN = "mean_views"
AUTO = "auto"  # no features: a choice of them, see `tlx.classify.layers`
MAX_VIEWS = 100  # of an image; more would be a claim on the machine, not a better mean
_SUFFIX = re.compile(r"(.*)@mean-views(?::([1-9]\d{0,2}))?")
_ADVISED = 5  # views: more of them gained little when it was measured


def choose_sources(
    manifest: Manifest,
    features: str | None,
    cached: Callable[[FeatureSpec], int] = lambda spec: 0,
) -> list[Source]:
    """Return the sources that `features` names; of a backbone embedded twice the latest.

    Parameters
    ----------
    manifest : Manifest
    features : str or None
        A backbone's name, or the first digits of a fingerprint; several joined by ``+``. None for
        the spec embedded last. ``@mean-views`` behind one stands for the mean of the plain
        embedding and of all augmented views that are cached, ``@mean-views:3`` of three.
    cached : callable, optional
        How many augmented views of a spec there are.

    Raises
    ------
    DataError
        If the data set has no features, or no augmented views where their mean is asked for; or
        for ``"auto"``, which is a choice.
    UnknownNameError
        If there is no such backbone or fingerprint.
    """
    if not manifest.sources:
        raise DataError(
            f"data set {manifest.name!r} has no features yet.", f"Run tlx embed {manifest.root}"
        )
    if features is None:
        return [manifest.sources[-1]]
    if features == AUTO:
        raise DataError(
            f"features {AUTO!r} are chosen while heads are fitted, and only then.",
            "Use it with tlx fit-head, or name a backbone or fingerprint: tlx cache info",
        )
    return [_source(manifest, part, cached) for part in features.split("+")]


def _source(manifest: Manifest, part: str, cached: Callable[[FeatureSpec], int]) -> Source:
    found = _SUFFIX.fullmatch(part)
    wanted, number = found.groups() if found else (part, None)
    names = [json.loads(source["spec"])["backbone"] for source in manifest.sources]
    matches = [
        source
        for source, name in zip(manifest.sources, names, strict=True)
        if name == wanted or source["fingerprint"].startswith(wanted)
    ]
    if not wanted or not matches:
        raise UnknownNameError.nearest("features", wanted, names)
    source = matches[-1]
    if not found:
        return source
    spec = FeatureSpec.from_json(source["spec"])
    K = int(number) if number else cached(spec)
    if not K:
        raise DataError(
            f"data set {manifest.name!r} has no augmented views of {spec.describe()}.",
            f"Run {embed_command(source, manifest.root, _ADVISED)}",
        )
    return {**source, MEAN: K}


def mean_views(source: Source) -> int:
    """Return K, over how many augmented views the plain embedding is averaged; 0 if it is not."""
    return source.get(MEAN, 0)


def averaged(sources: Iterable[Source], K: int) -> list[Source]:
    """Return `sources` with means over K views; as they are if K is 0."""
    return [{**source, MEAN: K} for source in sources] if K else list(sources)


def plain(source: Source) -> Source:
    """Return a source as a manifest notes it."""
    return {key: value for key, value in source.items() if key != MEAN}


def view_specs(source: Source, views: int = 0) -> list[FeatureSpec]:
    """Return the specs of a source and of its views, that of the plain image first.

    The views are those that are averaged, or where none are, as many as `views` says.
    """
    spec = FeatureSpec.from_json(source["spec"])
    return [replace(spec, view=k) for k in range((mean_views(source) or views) + 1)]


def mean_of(features: Iterable[np.ndarray]) -> np.ndarray:
    """Return the mean (N, D) float32 of an image's embeddings (N, D), each held once."""
    total, number = np.float32(0), 0
    for one in features:
        total = total + one
        number += 1
    return np.asarray(total / np.float32(number), np.float32)


def name_of(sources: Iterable[Source]) -> str:
    """Return what `choose_sources` takes for these very sources."""
    return "+".join(source["fingerprint"] + _suffix(source) for source in sources)


def short_name(sources: Iterable[Source]) -> str:
    """Return the backbones' names, as `choose_sources` takes them."""
    return "+".join(
        json.loads(source["spec"]).get("backbone", "?") + _suffix(source) for source in sources
    )


def layers_of(sources: Iterable[Source]) -> str:
    """Return the layers of sources in a phrase: ``last + block14_add``."""
    return " + ".join(json.loads(source["spec"]).get("layer", "?") for source in sources)


def _suffix(source: Source) -> str:
    K = mean_views(source)
    return f"@mean-views:{K}" if K else ""


def describe(sources: Iterable[Source]) -> str:
    """Return what sources are in a phrase for people."""
    phrases = []
    for source in sources:
        K = mean_views(source)
        mean = f", mean of {K} views" if K else ""
        phrases.append(FeatureSpec.from_json(source["spec"]).describe() + mean)
    return " + ".join(phrases)


def embed_command(source: Source, folder: str, views: int = 0, layer: str | None = None) -> str:
    """Return the command that adds augmented views to the features of a source, or a layer.

    Parameters
    ----------
    source : dict
    folder : str
        Of the data set.
    views : int, default=0
    layer : str, optional
        Instead of the source's own.
    """
    spec, default = FeatureSpec.from_json(source["spec"]), FeatureSpec("", "", "", 224)
    words = {
        "--backbone": (spec.backbone, "efficientnet-lite0"),
        "--weights": (source["weights"], "imagenet"),
        "--layer": (layer or spec.layer, default.layer),
        "--pooling": (spec.pooling, default.pooling),
        "--resize": (spec.fit, default.fit),
        "--interpolation": (spec.interpolation, default.interpolation),
        "--precision": (spec.precision, default.precision),
    }
    given = [
        word for name, (value, usual) in words.items() if value != usual for word in (name, value)
    ]
    if "--backbone" in given or spec.image_size != default.image_size:  # whose own may be another
        given += ["--image-size", str(spec.image_size)]
    given += ["--views", str(views)] if views else []
    return shlex.join(["tlx", "embed", folder, *given])
