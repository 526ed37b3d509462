"""Near-duplicates: some photos in ten versions; and random labels, which they make look learned."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

import tlx
from tlx.classify.duplicates import handle_duplicates
from tlx.classify.scoring.crossval import evaluate_head
from tlx.workspace import Workspace

from .common import Row, photos_of

Picture = Image.Image
Change = Callable[[Picture, np.random.Generator], Picture]
_PHOTOS = 150  # that copies are made of


def measure(data: Path, folder: Path, seed: int) -> Iterator[Row]:
    source, kind = plant(data, folder / "copies", np.random.default_rng(seed))
    workspace = folder / "copies.tlx"
    tlx.embed_images(folder / "copies", workspace=workspace)
    found = tlx.audit_run(workspace=workspace, only="near-duplicate").findings
    pairs = [(image.path, image.other or "") for one in found for image in one.images]
    right = [pair for pair in pairs if source[pair[0]] == source[pair[1]]]
    together = {path for pair in right for path in pair}
    precision, shares = len(right) / max(1, len(pairs)), []
    for what in KINDS:
        copies = [path for path, its in kind.items() if its == what]
        shares.append(len(together.intersection(copies)) / len(copies))
        yield Row(f"copies, {what}", len(copies), shares[-1], float("nan"))
    five, n = float(np.mean(shares[:5])), len(kind)
    yield Row("copies, the first five kinds", n // 2, five, precision, 0.95, 0.98)
    yield Row("copies, all", n, float(np.mean(shares)), precision, 0.8, 0.98)
    yield from random_labels(Workspace(workspace), source, kind, seed)


def plant(
    data: Path, folder: Path, rng: np.random.Generator
) -> tuple[dict[str, int], dict[str, str]]:
    """Write all photos, and copies of some; return of each file the photo, of copies the kind."""
    photos = photos_of(data)
    chosen = set(rng.permutation(len(photos))[:_PHOTOS].tolist())
    source: dict[str, int] = {}
    kind: dict[str, str] = {}
    for row, (file, label) in enumerate(photos):
        (folder / label).mkdir(parents=True, exist_ok=True)
        path = f"{label}/{row}{file.suffix}"
        shutil.copyfile(file, folder / path)
        source[path] = row
        for place, (what, change) in enumerate(KINDS.items() if row in chosen else ()):
            with Image.open(file) as image:
                picture = ImageOps.exif_transpose(image).convert("RGB")
            path = f"{label}/{row}-{place}{'.webp' if what == 'WebP' else '.jpg'}"
            change(picture, rng).save(folder / path, quality=QUALITY.get(what, 90))
            source[path], kind[path] = row, what
    return source, kind


def random_labels(
    workspace: Workspace, source: dict[str, int], kind: dict[str, str], seed: int
) -> Iterator[Row]:
    """Say how often random labels are told as right, of photos that are there twice."""
    table = tlx.load_features(workspace=workspace)
    again = {source[path] for path, what in kind.items() if what == "JPEG quality 40"}
    of = np.array([source[path] for path in table.paths])
    twice = [
        source[path] in again and kind.get(path, "JPEG quality 40") == "JPEG quality 40"
        for path in table.paths
    ]
    rows, labels = np.flatnonzero(twice), np.random.default_rng(seed).integers(0, 2, of.max() + 1)
    for handling in ("ignore", "group"):
        (treated,), _ = handle_duplicates(workspace, [table], handling)
        part = replace(
            treated,
            X=treated.X[rows],
            y=labels[of[rows]].astype(np.int64),
            split=np.full(len(rows), ""),
            groups=treated.groups[rows],
            digest=treated.digest[rows],
            paths=[treated.paths[row] for row in rows],
            class_names=("heads", "tails"),
            view=np.zeros(len(rows), np.int64),
        )
        right = evaluate_head(part, "logreg", seed=seed).metrics["accuracy"].value
        chance = 0.5 + len(again) ** -0.5  # and two standard errors
        wanted = 1.0 if handling == "group" else 0.0
        fault = f"random labels: {right:.0%} right, {handling}"
        yield Row(fault, len(rows), float(right <= chance), float("nan"), wanted)


def _resized(picture: Picture, rng: np.random.Generator) -> Picture:
    return picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))


def _cropped(picture: Picture, rng: np.random.Generator) -> Picture:
    width, height = picture.size
    left, top = (int(rng.integers(0, max(1, side // 20) + 1)) for side in picture.size)
    return picture.crop((left, top, left + round(0.95 * width), top + round(0.95 * height)))


def _brightened(picture: Picture, rng: np.random.Generator) -> Picture:
    return ImageEnhance.Brightness(picture).enhance(rng.choice([0.7, 1.3]))


def _framed(picture: Picture, rng: np.random.Generator) -> Picture:
    width = max(1, min(picture.size) // 20)
    return ImageOps.expand(picture, width, ("black", "white")[rng.integers(2)])


def _turned(picture: Picture, rng: np.random.Generator) -> Picture:
    return picture.rotate(float(rng.choice([-2, 2])), Image.Resampling.BICUBIC)


def _written_on(picture: Picture, rng: np.random.Generator) -> Picture:
    picture = picture.copy()
    place = (0.05 * picture.width, float(rng.uniform(0.1, 0.8)) * picture.height)
    font = ImageFont.load_default(max(8, picture.height / 10))
    ImageDraw.Draw(picture).text(
        place, "SAMPLE TEXT", "white", font, stroke_fill="black", stroke_width=2
    )
    return picture


QUALITY = {"JPEG quality 40": 40, "WebP": 60}
KINDS: dict[str, Change] = {
    "JPEG quality 40": lambda picture, rng: picture,
    "resized to half": _resized,
    "cropped by 5%": _cropped,
    "mirrored": lambda picture, rng: ImageOps.mirror(picture),
    "brightness ±30%": _brightened,
    "with a border": _framed,
    "turned by 2°": _turned,
    "WebP": lambda picture, rng: picture,
    "grey": lambda picture, rng: ImageOps.grayscale(picture),
    "with a text": _written_on,
}
