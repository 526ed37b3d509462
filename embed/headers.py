"""What the first bytes of an image file say, and what a hostile one is refused for.

All of it happens before Pillow sees the file.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MiB of RGB
MAX_BYTES = 512 * 2**20

_SUPPORTED = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"),
    *(".gif", ".bmp", ".dib", ".tif", ".tiff"),
)
_UNSUPPORTED = (".heic", ".heif", ".avif", ".jp2")  # to be refused by name, not passed over
IMAGE_SUFFIXES = frozenset((*_SUPPORTED, *_UNSUPPORTED))
"""Suffixes of image files, in lower case."""

# A progressive scan revisits every block, so n scans cost n decodings of a file that grows by a
# few bytes each. Encoders write about 10 scans, and never one for each of the 64 coefficients.
_MAX_SCANS = 100
_MAX_SEGMENTS = 10_000
_MAX_JUNK = 2**16  # bytes between two JPEG segments; Pillow skips them one by one
_MAX_CHUNKS = 200_000  # of a PNG, 7 microseconds each; encoders write a few KiB or more in each
_MAX_TAG_NUMBERS = 4 * 2**20  # bytes of numeric TIFF tags; each becomes Python objects
_MAGIC = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    # Two letters are too little: the size of the second header (one of the known ones) follows.
    "BMP": re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
}
_JPEG_MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")  # those with a length, and the end
EXIF = b"Exif\0\0"
ORIENTATION = 274  # the EXIF tag
_MODEL, _PHOTO, _TAKEN = 272, 34665, 36867  # camera; where the tags of the photo are; its time
_TEXT_BYTES = 64  # at most so many of a tag's text are read
_TAG_UNITS = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # bytes, by TIFF type
_BYTE_TYPES = (1, 2, 6, 7)
_OFFSET_TAGS = (273, 279, 324, 325)  # strip and tile offsets and sizes: numbers whatever the type


def looks_like_image(path_name: str, head: bytes) -> bool:
    """Tell whether a file is meant as an image, by its name or by how it starts.

    Parameters
    ----------
    path_name : str
        Name or path. A suffix of `IMAGE_SUFFIXES`, in any case, is enough.
    head : bytes
        The first 16 bytes of the file; they may be empty if the suffix suffices.

    Examples
    --------
    >>> looks_like_image("holiday.JPG", b"")
    True
    >>> looks_like_image("README", b"# tlx")
    False
    """
    suffix = os.path.splitext(path_name)[1].lower()
    return suffix in IMAGE_SUFFIXES or format_of(head) is not None


def check_header(data: bytes) -> None:
    """Refuse what would cost time or memory out of proportion, before Pillow sees it."""
    if not data:
        raise ImageError("empty file")
    if len(data) > MAX_BYTES:
        raise ImageError(f"file of {len(data) / 2**20:.0f} MiB, at most {MAX_BYTES // 2**20} MiB")
    kind = format_of(data[:16])
    if kind is None:
        raise ImageError(_unsupported(data[:16]))
    if kind == "JPEG":
        _check_jpeg(data)
    elif kind == "PNG":
        _check_png(data)
    elif kind == "TIFF":
        _check_tags(data, "TIFF")


def check_pixels(width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Refuse a picture of more pixels than `most`."""
    if width * height > most:
        limit = f"{most / 1e6:.0f} million"
        raise ImageError(f"too many pixels: {width}x{height}, at most {limit}")


def _check_png(data: bytes) -> None:
    """Refuse a PNG cut into absurdly many chunks."""
    position, chunks = 8, 0
    while position + 8 <= len(data) and not data.startswith(b"IEND", position + 4):
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        chunks += 1
        if chunks > _MAX_CHUNKS:
            raise ImageError(f"PNG of more than {_MAX_CHUNKS:,} chunks")


def _check_jpeg(data: bytes) -> None:
    """Refuse a JPEG of absurdly many scans or segments, or with exploding EXIF tags."""
    scans, exif, components = 0, [], b""
    for number, (marker, start, end) in enumerate(_jpeg_segments(data)):
        if number > _MAX_SEGMENTS:
            raise ImageError(f"JPEG of more than {_MAX_SEGMENTS:,} segments")
        if marker in (0xC0, 0xC1):  # not progressive
            components = data[start + 5 : start + 6]
        if marker == 0xDA:
            scans += 1
            if scans == 1 and (data[start : start + 1] == components or _has_few_scans(data)):
                break  # the common case: one scan has all components, or there are a dozen scans
            if scans > _MAX_SCANS:
                raise ImageError(f"JPEG of more than {_MAX_SCANS} scans")
        if marker == 0xE1 and data.startswith(EXIF, start):
            exif.append(data[start + len(EXIF) : end])
    if exif:
        _check_tags(b"".join(exif), "EXIF")


def _has_few_scans(data: bytes) -> bool:
    # Fast, and at worst too high: thumbnails, or a film appended to the photo, may have the bytes.
    return data.count(b"\xff\xda") <= _MAX_SCANS


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment's content, up to the end of the image."""
    position, in_scan = 2, False
    while found := _JPEG_MARKER.search(data, position):
        if found.start() - position > _MAX_JUNK and not in_scan:
            raise ImageError(f"damaged JPEG: no segment within {_MAX_JUNK // 1024} KiB")
        marker, start = found[0][1], found.end()
        if marker == 0xD9:
            return
        (length,) = struct.unpack(">H", data[start : start + 2].ljust(2, b"\0"))
        position = start + max(length, 2)
        yield marker, start + 2, position
        in_scan = in_scan or marker == 0xDA


def _check_tags(tiff: bytes, what: str) -> None:
    """Refuse tags that overlap into far more than the file, or that hold millions of numbers.

    Pillow copies the data of each tag: 65,535 tags that all point at the same megabyte are 64
    gigabytes. Numbers (strip offsets first of all) become Python objects of 30 times their size.
    """
    tags = _tags(tiff)
    unit = np.array(_TAG_UNITS)[np.where(tags["type"] < len(_TAG_UNITS), tags["type"], 0)]
    # A damaged count reads no further than the end of the file, hence the minimum.
    sizes = np.minimum(tags["count"].astype(np.float64) * unit, len(tiff))
    numeric = ~np.isin(tags["type"], _BYTE_TYPES) | np.isin(tags["tag"], _OFFSET_TAGS)
    if sizes.sum() > len(tiff) + _MAX_TAG_NUMBERS or sizes[numeric].sum() > _MAX_TAG_NUMBERS:
        raise ImageError(f"{what} tags of absurd size")


def _tags(tiff: bytes, place: int | None = None) -> np.ndarray:
    """Return the entries of the directory at `place` of a TIFF or EXIF block; none if unreadable.

    By default that is the first directory.
    """
    order: Any = _order(tiff)
    big = tiff[2:4] in (b"+\0", b"\0+")
    header, counter, wide = (8, "Q", "u8") if big else (4, "H", "u4")
    entry = np.dtype([("tag", "u2"), ("type", "u2"), ("count", wide), ("value", f"V{header}")])
    entry = entry.newbyteorder(order)
    try:
        start: int = place or struct.unpack_from(order + ("Q" if big else "I"), tiff, header)[0]
        (count,) = struct.unpack_from(order + counter, tiff, start)
    except (struct.error, OverflowError):
        return np.zeros(0, entry)
    start += struct.calcsize(counter)
    fitting = min(count, (len(tiff) - start) // entry.itemsize)
    return np.frombuffer(tiff, entry, fitting, start) if fitting else np.zeros(0, entry)


def _order(tiff: bytes) -> str:
    return {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")


def camera_and_time(exif: bytes) -> tuple[str, str]:
    """Return the camera's model and when it took the photo, "" for what an EXIF block lacks.

    Read here and not by Pillow, which copies every tag that a hostile file may declare.

    Parameters
    ----------
    exif : bytes
        The block, or a whole TIFF file.
    """
    exif = exif.removeprefix(EXIF)
    if not exif:
        return "", ""
    first = _tags(exif)
    photo = first[first["tag"] == _PHOTO]
    inner = _tags(exif, _number(exif, photo[0]["value"])) if len(photo) else first[:0]
    return _text(exif, first, _MODEL), _text(exif, inner, _TAKEN)


def _number(tiff: bytes, value: Any) -> int:
    return int.from_bytes(value.tobytes(), "little" if _order(tiff) == "<" else "big")


def _text(tiff: bytes, tags: np.ndarray, tag: int) -> str:
    """Return the text of a tag, without what follows its end; "" if there is none."""
    found = tags[(tags["tag"] == tag) & (tags["type"] == 2)]
    if not len(found):
        return ""
    count, value = min(int(found[0]["count"]), _TEXT_BYTES), found[0]["value"].tobytes()
    if int(found[0]["count"]) > len(value):
        start = _number(tiff, found[0]["value"])
        value = tiff[start : start + count]
    return value[:count].split(b"\0")[0].decode("utf-8", "replace").strip()


def orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none, or if the EXIF data is broken.

    Read here and not by Pillow, which takes one from XMP as well: viewers do not. Broken EXIF is
    common in old photos and must not cost the picture.
    """
    exif = exif.removeprefix(EXIF)
    if not exif:
        return 1
    tags = _tags(exif)
    found = tags[(tags["tag"] == ORIENTATION) & (tags["type"] == 3)]
    if not len(found):
        return 1
    (value,) = struct.unpack_from("<H" if exif[:2] == b"II" else ">H", found[0]["value"].tobytes())
    return value


def format_of(head: bytes) -> str | None:
    """Return the format of `FORMATS` that a file's first 16 bytes announce, if any."""
    for name, pattern in _MAGIC.items():
        if pattern.match(head):
            return name
    return None


def _unsupported(head: bytes) -> str:
    """Say what a file of no known format is, as far as its first bytes tell."""
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in (b"avif", b"avis"):
        return "AVIF is not supported: convert it to JPEG"
    if brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return "HEIC is not supported: convert it to JPEG"
    if head[4:8] == b"jP  " or head[:4] == b"\xff\x4f\xff\x51":
        return "JPEG 2000 is not supported: convert it to JPEG"
    return f"not an image ({', '.join(FORMATS)})"
