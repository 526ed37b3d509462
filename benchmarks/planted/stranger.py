"""Strangers: pictures of something else among the photos, and given to a run that predicts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import tlx
from tlx.embed.dataset import image_paths

from .common import Row, flagged, photos_of, plant

SIZE = (320, 240)
RUN = "for-strangers"


def measure(data: Path, folder: Path, seed: int, others: Path | None = None) -> Iterator[Row]:
    """`others` is a folder of photos of other things."""
    photos = photos_of(data)
    place, workspace = folder / "photos", folder / ".tlx"
    rng = np.random.default_rng(seed)
    sources = {"pictures that were drawn": draw(folder / "drawn", rng)}
    if others is not None:
        found = [others / name for name in image_paths(others)]
        sources["photos of other things"] = [found[i] for i in rng.permutation(len(found))]
    plant(photos, place, {})
    tlx.embed_images(place, workspace=workspace)
    for what, strangers in sources.items():
        for number in sorted({1, 3, 5, 20, min(len(strangers), len(photos) // 20)}):
            if number <= len(strangers):
                yield among(what, strangers[:number], place, workspace)
    yield from predicted(sources, photos, folder)


def among(what: str, strangers: list[Path], place: Path, workspace: Path) -> Row:
    """Put strangers into the folder of the first class, look for them, and take them out."""
    label = sorted(one.name for one in place.iterdir())[0]
    put = [Path(shutil.copy(one, place / label / f"stranger-{one.name}")) for one in strangers]
    tlx.embed_images(place, workspace=workspace)
    told = flagged(tlx.audit_run(only="stranger", workspace=workspace), "stranger")
    right = len(told & {f"{label}/{one.name}" for one in put})
    for one in put:
        one.unlink()
    precision = right / len(told) if told else float("nan")
    wanted = 0.9 if len(put) >= 3 else 0.0
    return Row(what, len(put), right / len(put), precision, wanted)


def predicted(
    sources: dict[str, list[Path]], photos: list[tuple[Path, str]], folder: Path
) -> Iterator[Row]:
    """Fit a head on two thirds of the photos, and give it the others and the strangers."""
    kept, workspace = folder / "two-thirds", folder / ".tlx"
    held = [path for i, (path, _) in enumerate(photos) if i % 3 == 0]
    plant([one for i, one in enumerate(photos) if i % 3], kept, {})
    tlx.embed_images(kept, workspace=workspace)
    run = tlx.fit_head("lda", dataset="two-thirds", workspace=workspace)
    for what, strangers in {**sources, "photos like those, accepted": held}.items():
        found = tlx.predict_images(run, strangers, workspace=workspace, reject=0.1)
        strange = np.mean([row.stranger is not None and row.stranger <= 0.01 for row in found])
        if strangers is held:
            yield Row(what, len(held), 1 - float(strange), float("nan"), 0.97)
        else:
            yield Row(f"{what}, predict", len(found), float(strange), float("nan"), 0.9)


def draw(folder: Path, rng: np.random.Generator) -> list[Path]:
    """Return files of pictures that nobody took, each of another kind."""
    folder.mkdir()
    paths = []
    for kind in (noise, gradient, shapes, clouds, lines):
        path = folder / f"{kind.__name__}.png"
        kind(rng).save(path)
        paths.append(path)
    return paths


def noise(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8))


def gradient(rng: np.random.Generator) -> Image.Image:
    first, last = rng.integers(0, 256, (2, 1, 1, 3))
    steps = np.linspace(0, 1, SIZE[0])[None, :, None] * np.ones((SIZE[1], 1, 1))
    return Image.fromarray((first * (1 - steps) + last * steps).astype(np.uint8))


def colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(map(int, rng.integers(0, 256, 3)))


def shapes(rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", SIZE, colour(rng))
    pen = ImageDraw.Draw(image)
    for number in range(8):
        x, y, size = (int(rng.integers(high)) for high in (*SIZE, 80))
        form = pen.ellipse if number % 2 else pen.rectangle
        form((x, y, x + size, y + size), fill=colour(rng))
    return image


def clouds(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(SIZE)


def lines(rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(image)
    for top in range(10, SIZE[1] - 10, 16):
        pen.text((10, top), " ".join(map(str, rng.integers(0, 10**6, 6))), fill="black")
    return image
