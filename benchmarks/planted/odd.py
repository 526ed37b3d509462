"""Odd images: one photo in twenty is changed, one kind of change after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from .common import Row, flagged, look, photos_of, plant

Change = Callable[[Image.Image], Image.Image]


def blurred(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def darkened(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def paled(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


def uniform(image: Image.Image) -> Image.Image:
    return Image.new("RGB", image.size, image.resize((1, 1)).getpixel((0, 0)))


def grey(image: Image.Image) -> Image.Image:
    return image.convert("L")


def small(image: Image.Image) -> Image.Image:
    return image.resize((48, 48 * image.height // image.width or 1))


CHANGES: dict[str, tuple[str, Change, float]] = {
    "blurred, radius 2": ("blurred", partial(blurred, radius=2), 0.0),
    "blurred, radius 3": ("blurred", partial(blurred, radius=3), 0.95),
    "blurred, radius 6": ("blurred", partial(blurred, radius=6), 0.95),
    "darkened to 0.2": ("dark", partial(darkened, factor=0.2), 0.95),
    "darkened to 0.4": ("dark", partial(darkened, factor=0.4), 0.95),
    "brightened by 3": ("bright", partial(darkened, factor=3), 0.0),
    "contrast of 0.2": ("low-contrast", partial(paled, factor=0.2), 0.95),
    "one colour": ("uniform", uniform, 0.95),
    "grey": ("grey", grey, 0.95),
    "48 pixels wide": ("tiny", small, 0.95),
}


def measure(data: Path, folder: Path, seed: int) -> Iterator[Row]:
    photos = photos_of(data)
    for number, (fault, (name, change, wanted)) in enumerate(CHANGES.items()):
        rng = np.random.default_rng([seed, number])
        rows = rng.choice(len(photos), max(1, len(photos) // 20), replace=False).tolist()
        place = folder / "odd"
        paths = plant(photos, place, dict.fromkeys(rows, change))
        told = flagged(look(place, name), name)
        planted = {paths[row] for row in rows}
        right = len(told & planted)
        precision = right / len(told) if told else float("nan")
        yield Row(fault, len(planted), right / len(planted), precision, wanted)
