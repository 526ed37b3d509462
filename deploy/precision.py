"""What fewer digits cost: the paired accuracy on held-out images, with its interval."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ..classify.runs.run import Run
from ..classify.scoring.paired import compare_paired
from ..embed.images import decode_image
from ..errors import DataError, ImageError
from ..workspace import Workspace
from .network import input_spec
from .parity import Reference

CALIBRATION: Final = 200  # training images that say which values occur
ALLOWED: Final = 0.01  # of accuracy: what may be lost beyond chance
_HELD_OUT: Final = 2000  # images at most


@dataclass(frozen=True)
class AccuracyChange:
    """Accuracy of a written network minus that of its run, on the same held-out images.

    Attributes
    ----------
    value, low, high : float
        The difference, and its 95% interval: see `tlx.classify.scoring.paired.compare_paired`.
    images : int
    """

    value: float
    low: float
    high: float
    images: int

    @property
    def good(self) -> bool:
        """Whether a loss of more than a point is within what chance explains."""
        return self.high >= -ALLOWED


@dataclass(frozen=True)
class HeldOut:
    """The images that a run was scored on, as far as they are still there. N images.

    Attributes
    ----------
    files : list of N str
    label, group : ndarray of shape (N,), int
    """

    files: list[str]
    label: np.ndarray
    group: np.ndarray


def held_out(run: Run, workspace: Workspace) -> HeldOut:
    """Return the images that a run was scored on; of very many some, spread over all.

    Raises
    ------
    DataError
        If none is there any more.
    """
    scored = run.predictions()
    found = _files(run, workspace, set(map(bytes, scored.digest)))
    rows = np.array([row for row, one in enumerate(scored.digest) if bytes(one) in found], int)
    if not len(rows):
        raise DataError(
            f"no image that run {run.id} was scored on is there any more.",
            "Export it with --precision float32, or where its images are.",
        )
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, _HELD_OUT).astype(int))]
    files = [found[bytes(scored.digest[row])] for row in rows]
    return HeldOut(files, scored.label[rows], scored.group[rows])


def calibration_pixels(run: Run, workspace: Workspace) -> np.ndarray:
    """Return pixels (M, S, S, 3) uint8 of up to 200 images that a run learned from.

    Two pixels of the first are 0 and 255, so that all values a pixel can have are within what was
    seen: a quantised input then takes pixels as they are.

    Raises
    ------
    DataError
        If none can be read any more.
    """
    learned = set(map(bytes, run.predictions().trained_on))
    files = sorted(_files(run, workspace, learned).values())
    spec, pixels = input_spec(run), []
    for place in (
        np.unique(np.linspace(0, len(files) - 1, CALIBRATION).astype(int)) if files else ()
    ):
        try:
            data = Path(files[place]).read_bytes()
            size, how = spec.image_size, spec.interpolation
            pixels.append(decode_image(data, size, fit=spec.fit, interpolation=how).pixels)
        except (OSError, ImageError):
            continue
    if not pixels:
        raise DataError(
            f"no image that run {run.id} learned from is there any more.",
            "int8 is calibrated by them: export it where they are, or with another --precision.",
        )
    found = np.stack(pixels)
    found[0, 0, 0], found[0, 0, 1] = 0, 255
    return found


def _files(run: Run, workspace: Workspace, digests: Collection[bytes]) -> dict[bytes, str]:
    """Return where the images of these digests are, of those that are there."""
    manifest = workspace.load_snapshot(run.info.dataset)
    wanted = {
        digest: manifest.file(i)
        for i, digest in enumerate(manifest.digest_bytes())
        if digest in digests
    }
    return {digest: file for digest, file in wanted.items() if Path(file).is_file()}


def accuracy_change(
    held: HeldOut, expected: Reference, probabilities: np.ndarray
) -> AccuracyChange:
    """Compare a written network with its run by their accuracy.

    Parameters
    ----------
    held : HeldOut
    expected : Reference
        What the run says of those of the images that could be read.
    probabilities : ndarray of shape (N, C)
        What the network says of the same.
    """
    place = {file: row for row, file in enumerate(held.files)}
    rows = [place[file] for file in expected.files]
    y, groups = held.label[rows], held.group[rows]
    found = compare_paired("accuracy", y, probabilities, expected.probabilities, groups)
    return AccuracyChange(found.value, found.low, found.high, len(rows))
