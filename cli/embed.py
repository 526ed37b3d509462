"""``tlx embed``: images to cached embeddings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import DEFAULT_WORKSPACE, JsonOption, SeedOption, WorkspaceOption, emit, note, say
from .render import counts, progress, table

if TYPE_CHECKING:
    from ..embed.pipeline import EmbedResult


def embed(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder with one folder a class, or with train/, validation/ and test/ of those, "
            "or a CSV file with the columns path,label.",
        ),
    ],
    backbone: Annotated[str, typer.Option(help="Pre-trained network.")] = "efficientnet-lite0",
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
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Run a frozen backbone over the images once and cache their embeddings.

    Running it again embeds only what is new or changed.
    """
    from ..embed.pipeline import embed_images

    try:
        with progress("Embedding") as show:
            result = embed_images(
                data,
                backbone=backbone,
                workspace=workspace,
                name=name,
                validation_fraction=validation_fraction,
                seed=seed,
                rehash=rehash,
                strict=strict,
                progress=show,
            )
    except KeyboardInterrupt:
        note("Interrupted. All finished work is kept: run the same command again to go on.")
        raise typer.Exit(130) from None
    emit(as_dict(result)) if as_json else say(as_text(result))


def as_dict(result: EmbedResult) -> dict:
    """Return the JSON object of the command."""
    return {
        "dataset": result.dataset,
        "images": result.images,
        "embedded": result.embedded,
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
    }


def as_text(result: EmbedResult) -> str:
    """Return what a person wants to read."""
    lines = [f"{result.images} images in data set {result.dataset!r}"]
    if result.classes:
        lines[0] += f" ({counts(result.classes)})"
    if result.splits:
        lines.append(f"splits: {counts(result.splits)}")
    lines += _oddities(result)
    speed = f" at {result.images_per_second:.0f} images/s, {result.engine}"
    lines.append(
        f"{result.embedded} embedded, {result.reused} reused, {len(result.unreadable)} unreadable "
        f"in {result.seconds:.1f} s" + (speed if result.engine else "")
    )
    lines.append(
        f"{result.dim} features an image: {result.spec.describe()} "
        f"(fingerprint {result.spec.fingerprint[:12]})"
    )
    if len(result.classes) > 1:
        lines += ["", "Next: tlx fit-head --model logreg"]
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
    if result.unreadable:
        rows = [[item["path"], item["reason"]] for item in result.unreadable[:20]]
        lines += ["", table(["unreadable", "reason"], rows)]
        if len(result.unreadable) > 20:
            lines.append(f"… and {len(result.unreadable) - 20} more (--json lists them all)")
        lines.append("")
    return lines
