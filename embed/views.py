"""Augmented views of an image: a random resized crop, a flip and mild colour, always the same.

View k of an image is a function of its digest and k alone: views can be added later, in any order,
on any machine, and come out the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..cache.identity import digest_of

_AREA = (0.5, 1.0)  # share of the picture that the crop keeps
_RATIO = (3 / 4, 4 / 3)  # aspect of the crop relative to the picture's own
_COLOUR = 0.15  # largest relative change of brightness, contrast and saturation
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601


@dataclass(frozen=True)
class View:
    """One way to look at an image.

    Attributes
    ----------
    width, height : float
        Size of the crop as a share of the picture, above 0, at most 1.
    left, top : float
        Where the crop lies in what it leaves free, 0 to 1.
    flip : bool
        Mirrored left to right.
    brightness, contrast, saturation : float
        Factors about 1.
    """

    width: float
    height: float
    left: float
    top: float
    flip: bool
    brightness: float
    contrast: float
    saturation: float

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return (left, top, right, bottom) of the crop in a picture of `width` by `height`."""
        left = self.left * (1 - self.width) * width
        top = self.top * (1 - self.height) * height
        return left, top, left + self.width * width, top + self.height * height

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Flip and colour pixels (H, W, 3) uint8; return the same shape and dtype."""
        values = pixels[:, ::-1] if self.flip else pixels
        values = values.astype(np.float32) * self.brightness
        mean = float((values @ _GREY).mean())
        values = mean + (values - mean) * self.contrast
        grey = (values @ _GREY)[..., None]
        values = grey + (values - grey) * self.saturation
        return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def view_of(digest: bytes, k: int) -> View | None:
    """Return view `k` of the image with this digest; None for view 0, the plain image.

    Crop and flip follow the usual training recipe for ImageNet, with a larger least area because
    small data sets have objects that fill the picture.

    Parameters
    ----------
    digest : bytes
        SHA-256 of the image file.
    k : int
        0 or more.

    References
    ----------
    C. Szegedy et al. (2015), Going Deeper with Convolutions, section 6 (random resized crop).
    """
    if k == 0:
        return None
    random = np.random.default_rng(np.frombuffer(digest_of(digest + b"view %d" % k), np.uint32))
    area = random.uniform(*_AREA)
    ratio = math.exp(random.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
    left, top = random.uniform(size=2)
    colour = random.uniform(1 - _COLOUR, 1 + _COLOUR, size=3)
    return View(
        width=min(1.0, math.sqrt(area * ratio)),
        height=min(1.0, math.sqrt(area / ratio)),
        left=float(left),
        top=float(top),
        flip=bool(random.integers(2)),
        brightness=float(colour[0]),
        contrast=float(colour[1]),
        saturation=float(colour[2]),
    )
