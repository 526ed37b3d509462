"""What is remembered of how a picture looks: one record an image, measured while it is decoded."""

from __future__ import annotations

import numpy as np

THUMB = 16
"""Height and width of the small grey picture, in pixels."""

PICTURE = np.dtype(
    [
        ("brightness", np.float32),
        ("shadows", np.float32),
        ("highlights", np.float32),
        ("contrast", np.float32),
        ("sharpness", np.float32),
        ("colourfulness", np.float32),
        ("uniformity", np.float32),
        ("format", "S8"),
        ("camera", "S40"),
        ("taken", np.float64),
        ("thumb", np.uint8, (THUMB, THUMB)),
    ]
)
"""One picture.

``brightness`` is the mean grey level, from 0 to 1; ``shadows`` and ``highlights`` are its 2% and
98% quantiles, ``contrast`` its standard deviation, ``uniformity`` the largest share of pixels whose
levels are within 8 of 256 of each other. `tlx.embed.measure` defines ``sharpness`` and
``colourfulness``. ``format`` is that of the file, ``camera`` the EXIF model, ``taken`` the seconds
from 1970 to what the camera's clock said, NaN if it said nothing; ``thumb`` is the whole picture,
upright, squashed to 16 by 16 grey pixels.
"""


def unmeasured(n: int) -> np.ndarray:
    """Return records of `n` pictures of which nothing is known: NaN and empty.

    Examples
    --------
    >>> measured(unmeasured(2)).tolist()
    [False, False]
    """
    blank = np.zeros(n, PICTURE)
    for name in PICTURE.names or ():
        if PICTURE[name].kind == "f":
            blank[name] = np.nan
    return blank


def measured(pictures: np.ndarray) -> np.ndarray:
    """Tell which of the N records `pictures` hold a measured picture, shape (N,) bool."""
    return np.isfinite(pictures["brightness"])
