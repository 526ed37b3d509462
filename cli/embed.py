"""``tlx embed``: images to cached embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .common import (
    DEFAULT_WORKSPACE,
    ClusterOption,
    EngineOption,
    JsonOption,
    SeedOption,
    StorageOption,
    WorkspaceOption,
    emit,
    next_command,
    resumable,
    say,
)
from .progress import progress, tell_rates
from .render import counts, table

if TYPE_CHECKING:
    from ..embed.pipeline import EmbedResult


def embed(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Folder with one folder a class, or with train/, validation/ and test/ of those, "
            "or a CSV file with the columns path,label; or an archive, or a URL: s3://bucket/photos",
        ),
    ],
    backbone: Annotated[
        str, typer.Option(help="Pre-trained network, or several with commas; see tlx backbones.")
    ] = "efficientnet-lite0",
    weights: Annotated[
        str, typer.Option(help="'imagenet', 'none' for random ones, or a weights file.")
    ] = "imagenet",
    layer: Annotated[
        str, typer.Option(help="Tap this layer of the network instead of its last feature map.")
    ] = "last",
    pooling: Annotated[
        Literal["avg", "max", "avg+max", "flatten", "none"],
        typer.Option(help="How a feature map becomes a vector."),
    ] = "avg",
    image_size: Annotated[
        int | None, typer.Option(help="Input size in pixels; by default the network's own.")
    ] = None,
    resize: Annotated[
        Literal["squash", "crop", "pad"],
        typer.Option(help="How a photo of another shape is fitted into the square."),
    ] = "squash",
    fit: Annotated[
        Literal["squash", "crop", "pad"] | None,
        typer.Option(hidden=True, help="The old name of --resize."),
    ] = None,
    interpolation: Annotated[
        Literal["nearest", "bilinear", "bicubic", "lanczos"],
        typer.Option(help="Filter that resizes the photo."),
    ] = "bilinear",
    precision: Annotated[
        Literal["float32", "bfloat16"],
        typer.Option(help="Arithmetic of the network: bfloat16 is faster on CPUs that have it."),
    ] = "float32",
    views: Annotated[
        int,
        typer.Option(min=0, max=100, help="Embed so many augmented views of each image as well."),
    ] = 0,
    cluster: ClusterOption = None,
    return_features: Annotated[
        bool,
        typer.Option(
            "--return-features",
            help="With --cluster: workers return features instead of writing them into the "
            "workspace, as they do anyway where they cannot see it.",
        ),
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Embed only this part of the images, such as 3/16. The last "
            "command, without it, makes the data set.",
        ),
    ] = None,
    validation_fraction: Annotated[
        float | None,
        typer.Option(
            help="Set this share of the images aside for validation, by a stable hash of each "
            "image: adding images moves none of the others. The split stays until another one is "
            "asked for; 0 removes it."
        ),
    ] = None,
    seed: SeedOption = 0,
    name: Annotated[
        str | None, typer.Option(help="Name of the data set; by default that of the folder.")
    ] = None,
    rehash: Annotated[
        bool,
        typer.Option(help="Read every file again instead of trusting its size and time."),
    ] = False,
    strict: Annotated[bool, typer.Option(help="Fail if any image cannot be read.")] = False,
    engine: EngineOption = "auto",
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0.0, help="A killed run loses at most this many seconds of work.")
    ] = 10.0,
    storage: StorageOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Run a frozen backbone over the images once and cache their embeddings.

    Running it again embeds only what is new or changed.
    """
    from ..embed.backbones.registry import get_backbone
    from ..embed.cluster import Cluster
    from ..embed.pipeline import embed_specs, make_spec

    networks = [get_backbone(network, weights) for network in backbone.split(",")]
    specs = [
        make_spec(
            network,
            layer=layer,
            pooling=pooling,
            image_size=image_size,
            resize=fit or resize,
            interpolation=interpolation,
            precision=precision,
        )
        for network in networks
    ]
    of = f", part {part}" if part else ""
    if return_features and cluster is None:
        raise typer.BadParameter("it needs --cluster.", param_hint="--return-features")
    with resumable(), progress(f"Embedding, {backbone}{of}") as show:
        results = embed_specs(
            data,
            list(zip(networks, specs, strict=True)),
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
            cluster=cluster and Cluster(cluster, return_features, rates=tell_rates(show)),
            progress=show,
        )
    if part is None:
        with resumable():
            _search_ahead(results, workspace)
    if as_json:
        objects = [as_dict(result) for result in results]
        emit(objects[0] if len(objects) == 1 else {"specs": objects})
    else:
        say(as_text(results))
        if part is not None:
            say(
                "\nAfter all parts (and tlx cache merge, if in several workspaces) the same\n"
                "command without --part makes the data set; it embeds only what is missing."
            )
        elif len(results[-1].classes) > 1:
            say("\n" + next_command("tlx fit-head --model logreg,lda" + _features_option(results)))


def _search_ahead(results: list[EmbedResult], workspace: Path) -> None:
    """Look for near-duplicates now, where it takes a tenth of the time at most, and later none."""
    from ..classify.duplicates import search_ahead
    from ..workspace import Workspace

    for result in results:
        new = result.embedded + result.measured
        if result.spec.pooling != "none" and new:
            search_ahead(Workspace(workspace), result.dataset, result.spec.fingerprint, new)


def _features_option(results: list[EmbedResult]) -> str:
    if len(results) == 1:
        return ""
    return " --features " + "+".join(result.spec.backbone for result in results)


def as_dict(result: EmbedResult) -> dict:
    """Return the JSON object of the command."""
    return {
        "dataset": result.dataset,
        "part": None if result.part is None else str(result.part),
        "dataset_images": result.dataset_images,
        "images": result.images,
        "embedded": result.embedded,
        "views_embedded": result.views_embedded,
        "reused": result.reused,
        "unreadable": result.unreadable,
        "fingerprint": result.spec.fingerprint,
        "spec": asdict(result.spec),
        "dim": result.dim,
        "classes": result.classes,
        "splits": result.splits,
        "validation_fraction": result.validation_fraction,
        "conflicts": [list(pair) for pair in result.conflicts],
        "ignored": dict(result.scan.ignored),
        "problems": result.problems,
        "seconds": result.seconds,
        "images_per_second": result.images_per_second,
        "engine": result.engine,
        "notes": result.notes,
    }


def as_text(results: Sequence[EmbedResult]) -> str:
    """Return what a person wants to read: the data set once, and each of its specs."""
    first = results[0]
    some = f"{first.images} images"
    if first.part:
        some = f"part {first.part}: {first.images} of {first.dataset_images} images"
    lines = [f"{some} in data set {first.dataset!r}"]
    if first.classes:
        lines[0] += f" ({counts(first.classes)})"
    if first.splits:
        share = first.validation_fraction
        rule = f", at --validation-fraction {share:g}" if share else ""
        lines.append(f"splits: {counts(first.splits)}{rule}")
    lines += _oddities(results)
    for result in results:
        if result.views_embedded:
            lines.append(f"{result.views_embedded} augmented views embedded")
        rate = result.images_per_second
        speed = f" at {rate:.{0 if rate >= 10 else 1}f} images/s, {result.engine}"
        lines.append(
            f"{result.embedded} embedded, {result.reused} reused, {len(result.unreadable)} "
            f"unreadable in {result.seconds:.1f} s" + (speed if result.engine else "")
        )
        lines.append(
            f"{result.dim} features an image: {result.spec.describe()} "
            f"(fingerprint {result.spec.fingerprint[:12]})"
        )
    return "\n".join(lines)


def _oddities(results: Sequence[EmbedResult]) -> list[str]:
    result = results[0]
    scan = result.scan
    lines = []
    if scan.ignored:
        lines.append(f"ignored, not images: {counts(dict(scan.ignored.most_common(8)))}")
    if scan.outside:
        lines.append(f"ignored, beside the class folders: {scan.outside} images")
    if scan.empty_classes:
        lines.append(f"class folders without images: {', '.join(scan.empty_classes)}")
    if result.conflicts:
        lines += _conflicts(result.conflicts)
    every = [text for one in results for text in one.problems]
    lines += [f"set aside: {problem}" for problem in dict.fromkeys(every)]
    lines += [f"Note: {text}" for text in dict.fromkeys(n for one in results for n in one.notes)]
    if result.unreadable:
        rows = [[item["path"], item["reason"]] for item in result.unreadable[:20]]
        lines += ["", table(["unreadable", "reason"], rows)]
        if len(result.unreadable) > 20:
            lines.append(f"… and {len(result.unreadable) - 20} more (--json lists them all)")
        lines.append("")
    return lines


def _conflicts(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Say which files are the same, byte for byte, in different classes."""
    some = [[one, other] for one, other in pairs[:5]]
    lines = [
        "",
        f"Warning: {len(pairs)} pairs of files are the same, byte for byte, under different "
        "classes. They are used as they are: remove the wrong one of each, or see tlx relabel.",
        table(["file", "the same as"], some),
    ]
    if len(pairs) > len(some):
        lines.append(f"… and {len(pairs) - len(some)} more (--json lists them all)")
    return [*lines, ""]
