"""What a decoded picture looks like, measured in passing: light, contrast, sharpness, colour."""

from __future__ import annotations

import calendar
import datetime
import math

import numpy as np

from ..cache.pictures import THUMB, unmeasured

SIDE = 224
"""Height and width of what is measured, in pixels: the default network sees the same."""

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
# Red against green, and yellow against blue.
_OPPONENTS = np.array([[1, 0.5], [-1, 0.5], [0, -1]])
_BLOCK = SIDE // THUMB
_BLOCKS = np.kron(np.eye(THUMB), np.kron(np.ones((_BLOCK, 1)), np.eye(3))).astype(np.float32)
_EVERY = 8  # a row in eight tells as much as all of them
_LAG = 4
_LEVELS = np.arange(256)
_NEAR = 8  # of 256: what noise and compression make of one colour


def measure_picture(
    pixels: np.ndarray, format: str = "", camera: str = "", taken: str = ""
) -> np.void:
    """Measure a decoded picture in a few tenths of a millisecond.

    *Sharpness* is how steep the strongest edges are: the 8-norm of the differences between
    neighbouring grey levels, divided by that between levels four pixels apart. A step gives 1, a
    slope without an end 1/4; light and contrast cancel out. *Colourfulness* is that of Hasler and
    Süsstrunk (Measuring colourfulness in natural images, 2003), over 255; 0 for grey.

    Parameters
    ----------
    pixels : ndarray of shape (224, 224, 3), uint8
        The whole picture, upright, squashed: numbers of pictures of any size compare.
    format : str
        Of the file.
    camera : str
        EXIF model.
    taken : str
        EXIF time, as ``2026:11:30 18:05:00``.

    Returns
    -------
    void
        One `tlx.cache.pictures.PICTURE`.

    Examples
    --------
    >>> import numpy as np
    >>> found = measure_picture(np.full((224, 224, 3), 51, np.uint8), "PNG")
    >>> round(float(found["brightness"]), 3), float(found["sharpness"]), found["format"].decode()
    (0.2, 0.0, 'PNG')
    """
    record = unmeasured(1)[0]
    # A row in eight, and those one and four below it; in one piece it would be too much for caches.
    rows, one_below, four_below = (_grey(pixels[k::_EVERY]) for k in (0, 1, _LAG))
    _measure_light(record, rows)
    record["sharpness"] = _sharpness(rows, one_below, four_below)
    sums = pixels.reshape(THUMB, _BLOCK, 3 * SIDE).sum(axis=1, dtype=np.uint16)
    blocks = (sums.astype(np.float32) @ _BLOCKS).reshape(-1, 3) / _BLOCK**2
    record["colourfulness"] = _colourfulness(blocks)
    record["thumb"] = np.rint(blocks @ _LUMA).reshape(THUMB, THUMB)
    record["format"] = format.encode("ascii", "replace")
    record["camera"] = " ".join(camera.split()).encode("ascii", "replace")
    record["taken"] = _seconds(taken)
    return record


def _grey(pixels: np.ndarray) -> np.ndarray:
    return (pixels.astype(np.float32).reshape(-1, 3) @ _LUMA).reshape(pixels.shape[:2])


def _measure_light(record: np.void, grey: np.ndarray) -> None:
    share = np.bincount((grey + 0.5).astype(np.intp).ravel(), minlength=256) / grey.size
    below = share.cumsum()
    mean = float(share @ _LEVELS)
    record["brightness"] = mean / 255
    record["contrast"] = math.sqrt(max(float(share @ _LEVELS**2) - mean**2, 0.0)) / 255
    record["shadows"], record["highlights"] = below.searchsorted((0.02, 0.98)) / 255
    within = below[_NEAR:].copy()
    within[1:] -= below[: -_NEAR - 1]
    record["uniformity"] = within.max()


def _sharpness(rows: np.ndarray, one_below: np.ndarray, four_below: np.ndarray) -> float:
    """Return the 8-norm of steps of one pixel over that of four, to the right and downwards.

    The strongest edges decide, so a sharp subject before a soft background is sharp. A maximum
    would be that of one pixel; the mean square says "blurred" of every picture with a calm sky.
    """
    here = rows[:, :-_LAG]
    powers = []
    for there in (
        rows[:, 1 : 1 - _LAG],
        one_below[:, :-_LAG],
        rows[:, _LAG:],
        four_below[:, :-_LAG],
    ):
        steps = there - here
        np.square(steps, out=steps)
        np.square(steps, out=steps)
        powers.append(float(np.vdot(steps, steps)) / steps.size)
    fine, coarse = (sum(pair) ** (1 / 8) for pair in (powers[:2], powers[2:]))
    return float(fine / (coarse + 1))


def _colourfulness(colours: np.ndarray) -> float:
    opponents = colours.astype(float) @ _OPPONENTS
    mean = np.full(len(opponents), 1 / len(opponents)) @ opponents
    opponents -= mean
    spread = math.sqrt(np.vdot(opponents, opponents) / len(opponents))
    return (spread + 0.3 * math.hypot(*mean)) / 255


def _seconds(taken: str) -> float:
    """Return the seconds from 1970 to an EXIF time, NaN if it is none."""
    try:
        when = datetime.datetime.strptime(taken.strip(), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return math.nan
    return float(calendar.timegm(when.timetuple()))
