"""Real images that every installation has: scikit-learn's handwritten digits."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from .errors import StorageError

_PIXELS = 64  # from 8 by 8, smoothly, as the strokes were


def write_digits(folder: str | os.PathLike[str]) -> int:
    """Write the 1,797 digits as PNG files, ``folder/<digit>/<number>.png``.

    Files that exist are left alone, so that a second call writes nothing.

    Parameters
    ----------
    folder : path
        Made if it is missing.

    Returns
    -------
    int
        How many files were written.

    Raises
    ------
    StorageError
        If the folder cannot be written.

    References
    ----------
    E. Alpaydin, C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
    Repository; `sklearn.datasets.load_digits`.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    written = 0
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = Path(folder) / str(label) / f"{number:04}.png"
        if path.exists():
            continue
        grey = Image.fromarray((255 - pixels * 255 / 16).round().astype(np.uint8))
        buffer = io.BytesIO()
        grey.resize((_PIXELS, _PIXELS), Image.Resampling.BICUBIC).save(buffer, "PNG")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".tmp")  # not flushed to the disk: these can be made again
            temporary.write_bytes(buffer.getvalue())
            temporary.replace(path)
        except OSError as error:
            raise StorageError(
                f"{folder} cannot be written: {error.strerror}.",
                "Name another folder: tlx demo DIR",
            ) from error
        written += 1
    return written
