"""Embed a data set: find what the workspace lacks, compute it, and remember what was found."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ..arguments import says_nearest_argument
from ..cache.corrections import Corrections
from ..cache.manifest import Manifest
from ..cache.spec import FITS, INTERPOLATIONS, POOLINGS, PRECISIONS, FeatureSpec
from ..cache.store import SEAL_SECONDS
from ..errors import DataError, UnknownNameError
from ..workspace import Workspace
from .backbones.family import Backbone
from .backbones.registry import get_backbone
from .cluster import Cluster
from .clustered import producer_of
from .engines.engine import Engine
from .fill import ManifestSaver, Progress, SpecFill, fill, look
from .images import DECODER_REVISION
from .memory import check_image_size
from .part import drop_parts, wanted_part
from .result import EmbedResult, result_of
from .splits import check_fraction, keep_split, split_by_digest

_MEASURED = "measured {n:,} picture{s} for tlx audit: brightness, sharpness, colour and a thumbnail"


def make_spec(
    backbone: Backbone,
    *,
    layer: str = "last",
    pooling: str = "avg",
    image_size: int | None = None,
    resize: str = "squash",
    interpolation: str = "bilinear",
    view: int = 0,
    precision: str = "float32",
) -> FeatureSpec:
    """Return the spec of a backbone's features; maps are stored as float16, vectors as float32.

    Raises
    ------
    UnknownNameError
        If `pooling`, `resize`, `interpolation` or `precision` is none of those that a spec knows.
    DataError
        If the image size is not positive, or larger than this machine's memory allows.
    """
    for kind, value, known in (
        ("pooling", pooling, POOLINGS),
        ("resize", resize, FITS),
        ("interpolation", interpolation, INTERPOLATIONS),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise UnknownNameError.nearest(kind, value, known)
    if image_size is not None:
        check_image_size(image_size)
    return FeatureSpec(
        backbone=backbone.name,
        weights=backbone.weights_digest,
        preprocessing=backbone.preprocessing,
        image_size=image_size or backbone.image_size,
        layer=layer,
        pooling=pooling,
        fit=resize,
        interpolation=interpolation,
        view=view,
        precision=precision,
        dtype="float16" if pooling == "none" else "float32",
        decoder=DECODER_REVISION,
    )


@says_nearest_argument
def embed_images(
    source: str | os.PathLike[str],
    *,
    backbone: str = "efficientnet-lite0",
    weights: str = "imagenet",
    layer: str = "last",
    pooling: str = "avg",
    image_size: int | None = None,
    resize: str = "squash",
    interpolation: str = "bilinear",
    precision: str = "float32",
    workspace: str | os.PathLike[str] = ".tlx",
    name: str | None = None,
    part: str | tuple[int, int] | None = None,
    validation_fraction: float | None = None,
    seed: int = 0,
    views: int = 0,
    engine: str | Engine = "auto",
    rehash: bool = False,
    strict: bool = False,
    checkpoint_seconds: float = SEAL_SECONDS,
    cluster: str | Cluster | None = None,
    progress: Progress = lambda done, total: None,
) -> EmbedResult:
    """Embed the images of a folder or CSV file, computing only what the workspace lacks.

    Parameters
    ----------
    source : path
        See `tlx.embed.dataset.scan` for the layouts.
    backbone : str, default="efficientnet-lite0"
        Pre-trained network.
    weights : str, default="imagenet"
        ``"imagenet"``, ``"none"`` (random), or a file.
    layer : str, default="last"
        Where the features are tapped; ``"last"`` is the last feature map.
    pooling : {"avg", "max", "avg+max", "flatten", "none"}, default="avg"
        How a feature map becomes a vector.
    image_size : int, optional
        Pixels; by default the network's own.
    resize : {"squash", "crop", "pad"}, default="squash"
        How a photo of another shape is fitted into the square.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}, default="bilinear"
    precision : {"float32", "bfloat16"}, default="float32"
    workspace : path, default=".tlx"
        Where features and manifests are kept.
    name : str, optional
        Name of the data set; by default that of the folder.
    part : str or (int, int), optional
        ``"3/16"`` or ``(3, 16)``: embed only the third of sixteen parts, chosen by a hash of each
        path. No data set is made before a call without `part`, which embeds what is missing.
    validation_fraction : float, optional
        Share of images to set aside for validation, by a stable hash of each image's digest; 0
        removes that split. By default a split made before is kept, new images included.
    seed : int, default=0
        Seed of that hash, where `validation_fraction` is given.
    views : int, default=0
        So many augmented views of each image are embedded besides the plain one.
    engine : {"auto", "openvino", "tensorflow"} or Engine, default="auto"
        What computes the features. An engine of one's own answers for it that its features are
        those of the spec: the cache cannot tell.
    rehash : bool, default=False
        Read every file again instead of trusting its size and modification time.
    strict : bool, default=False
        Raise if any image cannot be read. What was embedded is kept all the same.
    checkpoint_seconds : float, default=10
        At most this many seconds of work are lost if the process is killed.
    cluster : str or Cluster, optional
        ``"processes:4"``, ``"dask://HOST:PORT"`` or ``"ray://HOST:PORT"``: workers share the work.
        By default this process does it.
    progress : callable, optional
        Called with the number of images done and their total.

    Returns
    -------
    EmbedResult

    Raises
    ------
    DataError
        If there are no images, none of them can be read, or, with `strict`, one cannot; if there
        is no such part, or it is to be split, or shared by a cluster; if workers do not see images.
    MissingExtraError
        If the library of the cluster is not installed.
    UnknownNameError
        If there is no such backbone or layer.
    StorageError
        If the workspace cannot be written. Everything sealed before is kept.

    Examples
    --------
    >>> import tlx
    >>> result = tlx.embed_images("photos")
    >>> result.images, result.classes
    (24, {'blue': 12, 'red': 12})
    """
    network = get_backbone(backbone, weights)
    spec = make_spec(
        network,
        layer=layer,
        pooling=pooling,
        image_size=image_size,
        resize=resize,
        interpolation=interpolation,
        precision=precision,
    )
    (result,) = embed_specs(
        source,
        [(network, spec)],
        workspace=workspace,
        name=name,
        part=part,
        validation_fraction=validation_fraction,
        seed=seed,
        views=views,
        engine=engine,
        rehash=rehash,
        strict=strict,
        checkpoint_seconds=checkpoint_seconds,
        cluster=cluster,
        progress=progress,
    )
    return result


def embed_specs(
    source: str | os.PathLike[str],
    wanted: Sequence[tuple[Backbone, FeatureSpec]],
    *,
    workspace: str | os.PathLike[str] = ".tlx",
    name: str | None = None,
    part: str | tuple[int, int] | None = None,
    validation_fraction: float | None = None,
    seed: int = 0,
    views: int = 0,
    engine: str | Engine = "auto",
    rehash: bool = False,
    strict: bool = False,
    checkpoint_seconds: float = SEAL_SECONDS,
    cluster: str | Cluster | None = None,
    progress: Progress = lambda done, total: None,
) -> list[EmbedResult]:
    """Embed one data set by several networks in one pass: each image is read and decoded once.

    Parameters
    ----------
    source : path
    wanted : sequence of (Backbone, FeatureSpec)
        `make_spec` makes the spec of a backbone.
    workspace, name, part, validation_fraction, seed, views, engine, rehash, strict
        See `embed_images`.
    checkpoint_seconds, cluster, progress
        See `embed_images`.

    Returns
    -------
    list of EmbedResult
        One for each of `wanted`.
    """
    started = time.perf_counter()
    if views < 0:
        raise DataError(f"{views} augmented views cannot be embedded.", "Use 0 or more.")
    workspace, only = Workspace(workspace), wanted_part(part, validation_fraction)
    with producer_of(cluster, only, workspace) as producer:
        seen = look(workspace, source, name, rehash, only)
        manifest, previous, own = seen.scan.manifest, seen.previous, list(seen.scan.manifest.split)
        whole, corrections = only is None, Corrections(manifest.name)
        if whole:
            corrections = workspace.corrections(manifest.name)  # damaged: told before the work
        if validation_fraction:
            check_fraction(manifest, validation_fraction)  # before the work, not after it
        kept = whole and validation_fraction != 0
        notes = keep_split(manifest, previous) if kept and previous is not None else []
        fills = [_fill_of(workspace, manifest, *one, views, engine) for one in wanted]
        path = only.file(workspace, manifest) if only else workspace.manifest_path(manifest.name)
        saver = ManifestSaver(manifest, path, checkpoint_seconds)
        try:
            faults, measured, read = fill(
                manifest,
                fills,
                save_if_due=saver.save_if_due,
                checkpoint_seconds=checkpoint_seconds,
                progress=progress,
                previous=seen.known,
                producer=producer,
            )
            if whole and (read or validation_fraction):  # else it is split as all digests say
                notes = _split(manifest, own, previous, validation_fraction, seed)
        finally:
            saver.save()
    if whole:
        drop_parts(seen.parts, manifest)
    if measured:
        notes.append(_MEASURED.format(n=measured, s="s" * (measured != 1)))
    corrected = corrections.correct(manifest)
    notes += corrections.told(corrected)
    results = [
        result_of(seen, only, corrected.manifest, one, faults, measured, notes, started)
        for one in fills
    ]
    _check(results[0], strict)
    return results


def _fill_of(
    workspace: Workspace,
    manifest: Manifest,
    network: Backbone,
    spec: FeatureSpec,
    views: int,
    engine: str | Engine,
) -> SpecFill:
    manifest.record_source(spec.fingerprint, spec.json, network.weights)
    return SpecFill(workspace, spec, lambda: network, views, engine)


def _split(
    manifest: Manifest,
    own: list[str],
    previous: Manifest | None,
    fraction: float | None,
    seed: int,
) -> list[str]:
    """Split a data set now that all digests are known, and return what is to be told.

    Without a fraction it is split as before; where a new split fails, the old one stays.
    """
    before, manifest.split = manifest.split, own
    if fraction is None:
        return keep_split(manifest, previous) if previous is not None else []
    if fraction:
        try:
            split_by_digest(manifest, fraction, seed)
        except DataError:
            manifest.split = before
            raise
    return []


def _check(result: EmbedResult, strict: bool) -> None:
    bad = result.unreadable
    if result.part is None and len(bad) == result.images:
        raise DataError(
            f"none of the {result.images} images can be read; the first: {bad[0]['path']}: "
            f"{bad[0]['reason']}.",
            "tlx reads JPEG, PNG, WEBP, GIF, BMP and TIFF.",
        )
    if strict and bad:
        raise DataError(
            f"{len(bad)} of {result.images} images cannot be read; the first: {bad[0]['path']}: "
            f"{bad[0]['reason']}.",
            "Mend or remove them, or leave out --strict. What could be embedded is kept.",
        )
