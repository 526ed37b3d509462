"""``tlx embed``: images to cached embeddings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .common import (
    DEFAULT_WORKSPACE,
    EngineOption,
    JsonOption,
    SeedOption,
    WorkspaceOption,
    emit,
    next_command,
    resumable,
    say,
)
from .progress import progress
from .render import counts, table

if TYPE_CHECKING:
    from ..embed.pipeline import EmbedResult


def embed(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder with one folder a class, or with train/, validation/ and test/ of those, "
            "or a CSV file with the columns path,label.",
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
    fit: Annotated[
        Literal["squash", "crop", "pad"],
        typer.Option(help="How a photo of another shape is fitted into the square."),
    ] = "squash",
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
    validation_fraction: Annotated[
        float | None,
        typer.Option(
            help="Set this share of the images aside for validation, by a stable hash of each "
            "image: adding images moves none of the others."
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
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Run a frozen backbone over the images once and cache their embeddings.

    Running it again embeds only what is new or changed.
    """
    from ..embed.pipeline import embed_images

    results = []
    with resumable():
        for network in backbone.split(","):
            with progress(f"Embedding, {network}") as show:
                result = embed_images(
                    data,
                    backbone=network,
                    weights=weights,
                    workspace=workspace,
                    name=name,
                    validation_fraction=validation_fraction,
                    seed=seed,
                    views=views,
                    engine=engine,
                    rehash=rehash,
                    strict=strict,
                    checkpoint_seconds=checkpoint_seconds,
                    progress=show,
                    layer=layer,
                    pooling=pooling,
                    image_size=image_size,
                    fit=fit,
                    interpolation=interpolation,
                    precision=precision,
                )
            results.append(result)
    if as_json:
        objects = [as_dict(result) for result in results]
        emit(objects[0] if len(objects) == 1 else {"specs": objects})
    else:
        say("\n\n".join(as_text(result) for result in results))
        if len(results[-1].classes) > 1:
            say("\n" + next_command("tlx fit-head --model logreg" + _features_option(results)))


def _features_option(results: list[EmbedResult]) -> str:
    if len(results) == 1:
        return ""
    return " --features " + "+".join(result.spec.backbone for result in results)


def as_dict(result: EmbedResult) -> dict:
    """Return the JSON object of the command."""
    return {
        "dataset": result.dataset,
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
        "ignored": dict(result.scan.ignored),
        "problems": result.problems,
        "seconds": result.seconds,
        "images_per_second": result.images_per_second,
        "engine": result.engine,
        "notes": result.notes,
    }


def as_text(result: EmbedResult) -> str:
    """Return what a person wants to read."""
    lines = [f"{result.images} images in data set {result.dataset!r}"]
    if result.classes:
        lines[0] += f" ({counts(result.classes)})"
    if result.splits:
        lines.append(f"splits: {counts(result.splits)}")
    lines += _oddities(result)
    if result.views_embedded:
        lines.append(f"{result.views_embedded} augmented views embedded")
    rate = result.images_per_second
    speed = f" at {rate:.{0 if rate >= 10 else 1}f} images/s, {result.engine}"
    lines.append(
        f"{result.embedded} embedded, {result.reused} reused, {len(result.unreadable)} unreadable "
        f"in {result.seconds:.1f} s" + (speed if result.engine else "")
    )
    lines.append(
        f"{result.dim} features an image: {result.spec.describe()} "
        f"(fingerprint {result.spec.fingerprint[:12]})"
    )
    return "\n".join(lines)


def _oddities(result: EmbedResult) -> list[str]:
    scan = result.scan
    lines = []
    if scan.ignored:
        lines.append(f"ignored, not images: {counts(dict(scan.ignored.most_common(8)))}")
    if scan.outside:
        lines.append(f"ignored, beside the class folders: {scan.outside} images")
    if scan.empty_classes:
        lines.append(f"class folders without images: {', '.join(scan.empty_classes)}")
    lines += [f"set aside: {problem}" for problem in result.problems]
    lines += [f"note: {text}" for text in result.notes]
    if result.unreadable:
        rows = [[item["path"], item["reason"]] for item in result.unreadable[:20]]
        lines += ["", table(["unreadable", "reason"], rows)]
        if len(result.unreadable) > 20:
            lines.append(f"… and {len(result.unreadable) - 20} more (--json lists them all)")
        lines.append("")
    return lines
