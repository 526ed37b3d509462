"""Small pictures of image files, as text that a page can hold."""

from __future__ import annotations

import base64
import io
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PIL import Image, features

from ..cache.files import open_binary
from ..cache.identity import digest_of
from ..embed.headers import MAX_BYTES
from ..embed.images import Framing, decode_images
from ..errors import ImageError

SIDE = 128  # pixels of the longer side
_QUALITY = 55
_AHEAD = 64  # files that are read ahead


class Thumbnail(NamedTuple):
    """A small picture: its ``data:`` URI."""

    uri: str


def thumbnail(file: str, digest: str) -> Thumbnail | None:
    """Return a small picture of an image file; None if it is gone, changed or cannot be decoded.

    Parameters
    ----------
    file : str
    digest : str
        SHA-256 of the file as it was embedded, in hexadecimal digits.
    """
    try:
        data = _read(file)
        if digest_of(data).hex() != digest:
            return None
        decoded = decode_images(data, [Framing(SIDE, "pad")])[0]
    except (ImageError, OSError, MemoryError):
        return None
    scale = SIDE / max(decoded.width, decoded.height)  # which the padding has centred
    width, height = (max(1, round(side * scale)) for side in (decoded.width, decoded.height))
    left, top = (SIDE - width) // 2, (SIDE - height) // 2
    picture = Image.fromarray(decoded.pixels[top : top + height, left : left + width])
    kind = "WEBP" if features.check("webp") else "JPEG"
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=_QUALITY, **({"method": 1} if kind == "WEBP" else {}))
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{kind.lower()};base64,{text}")


def thumbnails(
    files: Iterable[tuple[str, str]],
    most_bytes: int,
    told: Callable[[int], None] = lambda number: None,
) -> Iterator[Thumbnail | None]:
    """Yield the small picture of each file in turn, until they have `most_bytes` together.

    Parameters
    ----------
    files : iterable of (str, str)
        See `thumbnail`.
    most_bytes : int
    told : callable, optional
        Given how many there are so far.
    """
    pending, total = iter(files), 0
    with ThreadPoolExecutor(max(2, os.cpu_count() or 1)) as pool:
        for number in itertools.count():
            some = list(itertools.islice(pending, _AHEAD))
            if not some:
                return
            for small in pool.map(lambda one: thumbnail(*one), some):
                total += len(small.uri) if small else 0
                if total > most_bytes:
                    return
                yield small
            told(_AHEAD * number + len(some))


def _read(file: str) -> bytes:
    with open_binary(file) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ImageError("not a regular file")
        return stream.read(MAX_BYTES + 1)
