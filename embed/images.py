"""The bytes of one image file to a square RGB array, or one line that says why not.

What every image goes through, in this order: the file's header is checked before a pixel is
decoded, Pillow decodes the first frame, transparency is laid on white, one resampling fits the
picture into the square, and the EXIF orientation is applied last, on the small array.

Colour profiles (ICC) are ignored: the numbers in the file are the numbers that come out, which is
how the pre-trained networks were trained.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ..cache.spec import FITS, INTERPOLATIONS
from ..errors import ImageError, UnknownNameError
from .views import View

DECODER_REVISION = 1  # raise it when the pixels that come out may change: it is part of the spec
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

_GAP = 2.0  # decode to at least twice the wanted size, and average down to it before the filter

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
_EXIF = b"Exif\0\0"
_TAG_UNITS = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # bytes, by TIFF type
_BYTE_TYPES = (1, 2, 6, 7)
_OFFSET_TAGS = (273, 279, 324, 325)  # strip and tile offsets and sizes: numbers whatever the type

_ORIENTATION = 274
# Orientation of EXIF 2.32, 4.6.4.A: how the stored picture must be turned to stand upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = tuple(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))

# 255 v / 65535, rounded half up; 65535 = 255 * 257.
_SIXTEEN_TO_EIGHT = ((np.arange(65536) + 128) // 257).astype(np.uint8)

# Pillow logs a few refusals as errors; without any handler Python would print them on stderr.
# What stays: libtiff itself writes a line to the process's stderr for a compressed TIFF with
# damaged data, and Pillow offers no switch; redirecting the file descriptor is not thread-safe.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Decoded(NamedTuple):
    """One decoded image.

    Parameters
    ----------
    pixels : ndarray of shape (size, size, 3), uint8
        RGB, 0 to 255. May be read-only.
    width, height : int
        Size of the original in pixels, as a viewer shows it: after the EXIF orientation.
    """

    pixels: np.ndarray
    width: int
    height: int


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
    return suffix in IMAGE_SUFFIXES or _format_of(head) is not None


def decode_image(
    data: bytes,
    size: int,
    *,
    fit: str = "squash",
    interpolation: str = "bilinear",
    crop_fraction: float = 1.0,
    view: View | None = None,
) -> Decoded:
    """Decode one image file into a square of RGB pixels.

    The first frame counts where there are several. Transparent pixels become white, 16-bit grey
    is scaled to 8 bits and not clipped, EXIF orientation is applied, ICC profiles are ignored.
    A large JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that is still at least twice the
    wanted one (not with ``interpolation="nearest"``, which picks pixels of the full picture).

    Any number of threads may call this at once. As a side effect Pillow's process-wide
    ``ImageFile.LOAD_TRUNCATED_IMAGES`` is set to False: half a picture is an error here.

    Parameters
    ----------
    data : bytes
        The whole file.
    size : int
        Height and width of the result, in pixels.
    fit : {"squash", "crop", "pad"}, default="squash"
        ``"squash"`` resizes to the square and ignores the aspect ratio; ``"crop"`` takes the
        largest centred square; ``"pad"`` fits the whole picture inside, centred on black (0).
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}, default="bilinear"
        Resampling filter, widened by the scale when shrinking (antialiased).
    crop_fraction : float, default=1.0
        With ``fit="crop"`` only: side of the centred square, as a part of the shorter side. The
        usual ImageNet evaluation crop is 0.875 (224 / 256).
    view : View, optional
        An augmented view; its crop takes the place of `fit`.

    Returns
    -------
    Decoded
        ``pixels`` of shape (size, size, 3) uint8, and the original ``width`` and ``height``.

    Raises
    ------
    ImageError
        If the file cannot be decoded, whatever is wrong with it; ``cause`` is one short line.
    UnknownNameError
        If `fit` or `interpolation` is not one of those listed.
    """
    if fit not in FITS:
        raise UnknownNameError.nearest("fit", fit, FITS)
    if interpolation not in INTERPOLATIONS:
        raise UnknownNameError.nearest("interpolation", interpolation, INTERPOLATIONS)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with _pillow_warnings_ignored():
            return _decode(data, size, fit, interpolation, crop_fraction, view)
    except ImageError:
        raise
    except Exception as error:
        # Broad on purpose: on damaged files Pillow and its codecs raise nearly every builtin
        # (OSError, SyntaxError, struct.error, KeyError, AssertionError, zlib.error, MemoryError),
        # and one bad image among 100,000 must not end the run.
        raise ImageError(_reason(error, data)) from error


def image_file(image: Image.Image | np.ndarray) -> bytes:
    """Return the bytes of a file that holds exactly the pixels of `image`, for `decode_image`.

    So pixels that come from no file have a digest, and go the one way that all images go. The file
    is an uncompressed BMP, or a PNG where it has to say how the picture is to be turned.

    Parameters
    ----------
    image : PIL.Image.Image or ndarray
        Of any mode, loaded or not; or uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Raises
    ------
    ImageError
        If the image cannot be loaded.
    """
    buffer = io.BytesIO()
    try:
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)
        image.load()
        orientation = 1 if getattr(image, "format", "") == "TIFF" else orientation_of(image)
        plain = flatten_image(image).copy()
        plain.info = {}  # a profile or a resolution is no part of the pixels
        if orientation in _UPRIGHT:
            tags = Image.Exif()
            tags[_ORIENTATION] = orientation
            plain.save(buffer, "PNG", compress_level=0, exif=tags)
        else:
            plain.save(buffer, "BMP")
    except ImageError:
        raise
    except Exception as error:  # as broad as in `decode_image`, and for the same reason
        text = " ".join(str(error).split())
        raise ImageError(f"it cannot be loaded: {text[:80] or type(error).__name__}") from error
    return buffer.getvalue()


def _decode(
    data: bytes, size: int, fit: str, interpolation: str, fraction: float, view: View | None
) -> Decoded:
    """Do the work of `decode_image`, letting any exception through."""
    _check_header(data)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_pixels(*image.size)
        reduced = image.format in ("JPEG", "MPO") and interpolation != "nearest"
        if not reduced:
            image.load()
        width, height = image.size  # after loading: some versions of Pillow turn a TIFF then
        box, target = (0, 0, width, height), (size, size)
        if view is not None:
            box = view.box(width, height)
        elif fit == "crop":
            box = _centre_box(width, height, fraction)
        elif fit == "pad":
            target = _padded(width, height, size)
        if reduced:
            box = _load_reduced(image, box, target)
        filter_ = Image.Resampling[interpolation.upper()]
        small = flatten_image(image).resize(target, filter_, box=box, reducing_gap=_GAP)
        # Turning the small picture is free, and equal: box and target are symmetric.
        turn = None if image.format == "TIFF" else _UPRIGHT.get(orientation_of(image))
    if turn is not None:
        small = small.transpose(turn)
        if turn in _SIDEWAYS:
            width, height = height, width
    pixels = np.asarray(_centred(small.convert("RGB"), size))
    return Decoded(view.apply(pixels) if view else pixels, width, height)


def _padded(width: int, height: int, size: int) -> tuple[int, int]:
    """Return the width and height of the whole picture fitted into the square."""
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _centre_box(width: int, height: int, fraction: float) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) of the centred square of `fraction` of the shorter side.

    The box is not rounded to pixels: it stays exactly centred, and resampling takes fractions.
    """
    side = fraction * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _load_reduced(image: Any, box: tuple, target: tuple[int, int]) -> tuple:
    """Load a JPEG at the smallest of 1, 1/2, 1/4, 1/8 that suffices; return the box in it.

    Decoding at 1/s needs s^2 times fewer inverse transforms. The box keeps its fractions: at 1/8,
    the last block of a side that is no multiple of 8 is only partly picture.
    """
    width, height = image.size
    wanted = (
        math.ceil(_GAP * target[0] * width / (box[2] - box[0])),
        math.ceil(_GAP * target[1] * height / (box[3] - box[1])),
    )
    drafted = image.draft(None, wanted)
    image.load()
    scale = drafted[1][2] / width if drafted else 1.0
    return tuple(scale * edge for edge in box)


def _centred(image: Image.Image, size: int) -> Image.Image:
    """Put a picture that does not fill the square in the middle of a black one."""
    if image.size == (size, size):
        return image
    square = Image.new("RGB", (size, size))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


def flatten_image(image: Image.Image) -> Image.Image:
    """Return a loaded picture of any mode as opaque RGB, or as L if it is grey."""
    if image.mode.startswith("I"):
        return _from_integers(image)
    if image.mode == "F":
        return _from_floats(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))  # (a x + (255 - a) 255) / 255
        return white
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _from_integers(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion would clip at 255."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"grey values {values.min()} to {values.max()}, allowed are 0 to 65535")
    grey = _SIXTEEN_TO_EIGHT[values]
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return Image.fromarray(grey)


def _from_floats(image: Image.Image) -> Image.Image:
    """Read floating-point grey as 0 to 1 or, if any value is above 1, as 0 to 255."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):  # written so that NaN is refused too
        raise ImageError(f"grey values {low:.3g} to {high:.3g}, allowed are 0 to 1 or 0 to 255")
    scaled = values * 255 if high <= 1 else values
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


# Header checks: what a hostile file could make Pillow do before or while it decodes.


def _check_header(data: bytes) -> None:
    """Refuse what would cost time or memory out of proportion, before Pillow sees it."""
    if not data:
        raise ImageError("empty file")
    if len(data) > MAX_BYTES:
        raise ImageError(f"file of {len(data) / 2**20:.0f} MiB, at most {MAX_BYTES // 2**20} MiB")
    kind = _format_of(data[:16])
    if kind is None:
        raise ImageError(_unsupported(data[:16]))
    if kind == "JPEG":
        _check_jpeg(data)
    elif kind == "PNG":
        _check_png(data)
    elif kind == "TIFF":
        _check_tags(data, "TIFF")


def _check_pixels(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS / 1e6:.0f} million"
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
        if marker == 0xE1 and data.startswith(_EXIF, start):
            exif.append(data[start + len(_EXIF) : end])
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


def _tags(tiff: bytes) -> np.ndarray:
    """Return the entries of the first directory of a TIFF or EXIF block; none if unreadable."""
    order: Any = {b"II": "<", b"MM": ">"}.get(tiff[:2], "<")
    big = tiff[2:4] in (b"+\0", b"\0+")
    header, counter, wide = (8, "Q", "u8") if big else (4, "H", "u4")
    entry = np.dtype([("tag", "u2"), ("type", "u2"), ("count", wide), ("value", f"V{header}")])
    entry = entry.newbyteorder(order)
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), tiff, header)
        (count,) = struct.unpack_from(order + counter, tiff, start)
    except (struct.error, OverflowError):
        return np.zeros(0, entry)
    start += struct.calcsize(counter)
    fitting = min(count, (len(tiff) - start) // entry.itemsize)
    return np.frombuffer(tiff, entry, fitting, start) if fitting else np.zeros(0, entry)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if there is none, or if the EXIF data is broken.

    Read here and not by Pillow, which takes one from XMP as well: viewers do not. Broken EXIF is
    common in old photos and must not cost the picture.
    """
    exif = image.info.get("exif", b"").removeprefix(_EXIF)
    if not exif:
        return 1
    tags = _tags(exif)
    found = tags[(tags["tag"] == _ORIENTATION) & (tags["type"] == 3)]
    if not len(found):
        return 1
    (value,) = struct.unpack_from("<H" if exif[:2] == b"II" else ">H", found[0]["value"].tobytes())
    return value


# What to tell the user.


def _format_of(head: bytes) -> str | None:
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


def _reason(error: Exception, data: bytes) -> str:
    """Turn what Pillow raised into one short line."""
    kind = _format_of(data[:16])
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError):  # beyond twice the limit
        return f"too many pixels: at most {MAX_PIXELS / 1e6:.0f} million"
    if isinstance(error, UnidentifiedImageError):
        return f"damaged {kind}: unreadable header"
    text = " ".join(str(error).split())
    if "truncated" in text.lower():
        return f"truncated {kind}"
    return f"damaged {kind}: {text[:80] or type(error).__name__}"


# Warnings. Pillow warns of things that are no business of the user's here (corrupt EXIF, odd
# palettes, short TIFF tags), and whether that prints, raises or passes would depend on filters
# that belong to the caller. `warnings.catch_warnings` swaps process-wide state and is not safe in
# threads; one more filter that answers only for threads inside `decode_image` is.

_decoding = threading.local()


class _InDecodingThread:
    """Stands for a filter's module pattern: matches Pillow in a thread that is decoding.

    Who copies filters to other processes, as scikit-learn does, asks for the pattern's text.
    """

    pattern = r"PIL\."

    def match(self, module: str) -> bool:
        return getattr(_decoding, "active", False) and module.startswith("PIL.")


_IGNORE_PILLOW: Any = ("ignore", None, Warning, _InDecodingThread(), 0)


@contextlib.contextmanager
def _pillow_warnings_ignored() -> Iterator[None]:
    """Ignore what Pillow warns of in this thread, and nothing else."""
    filters: Any = warnings.filters
    if not filters or filters[0] is not _IGNORE_PILLOW:  # first run, or filters were replaced
        filters.insert(0, _IGNORE_PILLOW)
    _decoding.active = True
    try:
        yield
    finally:
        _decoding.active = False
