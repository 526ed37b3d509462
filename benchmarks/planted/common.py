"""What the topics share: a row of the table, and a data set made of someone's photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import tlx
from tlx.classify.audit import Audit
from tlx.embed.dataset import scan


class Row(NamedTuple):
    """What was found of one fault."""

    fault: str
    planted: int
    found: float  # share of the planted
    precision: float  # share of what was found that was planted; NaN where nothing was
    wanted: float = 0.0
    wanted_precision: float = 0.0

    @property
    def holds(self) -> bool:
        return self.found >= self.wanted and not self.precision < self.wanted_precision


Measure = Callable[[Path, Path, int], Iterator[Row]]  # of photos, a folder to work in, and a seed


class Colours:
    """An engine without a network, for faults that embeddings do not show."""

    name, note, output_shape = "colours", "", (48,)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        fields = batch.reshape(len(batch), 4, batch.shape[1] // 4, 4, -1, 3).mean((2, 4))
        return (fields.reshape(len(batch), 48) / 255).astype(np.float32)


def photos_of(data: Path) -> list[tuple[Path, str]]:
    """Return the labelled photos of a folder, and their classes."""
    manifest = scan(data).manifest
    return [
        (Path(manifest.file(row)), manifest.class_names[label])
        for row, label in enumerate(manifest.label)
        if label >= 0
    ]


def plant(
    photos: list[tuple[Path, str]],
    folder: Path,
    change: Mapping[int, Callable[[Image.Image], Image.Image]],
) -> dict[int, str]:
    """Make a data set of links to photos, some of which are changed; return their paths by row.

    Where it was made before, the others stay as they are, so that they are not embedded again.
    """
    paths = {}
    for row, (path, label) in enumerate(photos):
        place = folder / label / f"{row:06}{path.suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if row in change:
            place.unlink(missing_ok=True)
            with Image.open(path) as image:
                change[row](image.convert("RGB")).save(place, "JPEG", quality=90)
        elif not place.is_symlink():
            place.unlink(missing_ok=True)
            place.symlink_to(path)
        paths[row] = f"{label}/{place.name}"
    return paths


def look(folder: Path, *only: str) -> Audit:
    """Embed a data set without a network, and look for some kinds of findings."""
    workspace = folder.parent / f"{folder.name}.tlx"
    tlx.embed_images(folder, workspace=workspace, engine=Colours())
    return tlx.audit_run(only=only, workspace=workspace)


def flagged(audit: Audit, name: str) -> set[str]:
    """Return the paths of the images of all findings of a kind."""
    return {one.path for found in audit.findings if found.name == name for one in found.images}
