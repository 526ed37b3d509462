"""Shortcuts: one class is saved, lit or cut otherwise; and what both classes have is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from .common import Row, look, photos_of, plant
from .odd import blurred, darkened

Change = Callable[[Image.Image], Image.Image]


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


CHANGES: dict[str, tuple[str, Change]] = {
    "one class darkened to 0.6": ("brightness", partial(darkened, factor=0.6)),
    "one class blurred, radius 2": ("sharpness", partial(blurred, radius=2)),
    "one class of half the size": ("image size", halved),
}


def measure(data: Path, folder: Path, seed: int) -> Iterator[Row]:
    photos = photos_of(data)
    first = photos[0][1]
    for fault, (name, change) in CHANGES.items():
        rows = [row for row, (_, label) in enumerate(photos) if label == first]
        plant(photos, folder / "shortcut", dict.fromkeys(rows, change))
        found = look(folder / "shortcut", "shortcut").findings
        right = [one for one in found if one.severity == "warning" and name in one.title]
        yield Row(f"{fault}: {name}", 1, float(len(right)), float("nan"), 1.0)
    drawn = np.random.default_rng(seed).random(len(photos)) < 0.5
    rows = np.flatnonzero(drawn).tolist()
    plant(photos, folder / "shortcut", dict.fromkeys(rows, partial(darkened, factor=0.4)))
    found = look(folder / "shortcut", "shortcut").findings
    none = not [one for one in found if one.severity == "warning"]
    yield Row("half of each class darkened: none", 1, float(none), float("nan"), 1.0)
