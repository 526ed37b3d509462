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
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ..cache.spec import FITS, INTERPOLATIONS
from ..errors import ImageError, UnknownNameError
from .headers import (
    FORMATS,
    MAX_PIXELS,
    ORIENTATION,
    camera_and_time,
    check_header,
    check_pixels,
    format_of,
    orientation,
)
from .measure import SIDE, measure_picture
from .views import View

DECODER_REVISION = 1  # raise it when the pixels that come out may change: it is part of the spec
_WHOLE = 0.0  # stands for the scale of a picture that is decoded without one
_GAP = 2.0  # decode to at least twice the wanted size, and average down to it before the filter
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


Box = tuple[float, float, float, float]  # left, top, right, bottom


class Decoded(NamedTuple):
    """One decoded image.

    Parameters
    ----------
    pixels : ndarray of shape (size, size, 3), uint8
        RGB, 0 to 255. May be read-only.
    width, height : int
        Size of the original in pixels, as a viewer shows it: after the EXIF orientation.
    picture : void or None
        What it looks like, one `tlx.cache.pictures.PICTURE`, where that was asked for.
    """

    pixels: np.ndarray
    width: int
    height: int
    picture: np.void | None = None


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
    MemoryError, OSError
        If the machine is at its limits. That says nothing of the file.
    """
    framing = Framing(size, fit, interpolation, crop_fraction, view)
    return decode_images(data, [framing])[0]


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
        turned = (
            1
            if getattr(image, "format", "") == "TIFF"
            else orientation(image.info.get("exif", b""))
        )
        plain = _flatten(image).copy()
        plain.info = {}  # a profile or a resolution is no part of the pixels
        if turned in _UPRIGHT:
            tags = Image.Exif()
            tags[ORIENTATION] = turned
            plain.save(buffer, "PNG", compress_level=0, exif=tags)
        else:
            plain.save(buffer, "BMP")
    except ImageError:
        raise
    except Exception as error:  # as broad as in `decode_image`, and for the same reason
        text = " ".join(str(error).split())
        raise ImageError(f"it cannot be loaded: {text[:80] or type(error).__name__}") from error
    return buffer.getvalue()


class Framing(NamedTuple):
    """How a photo of any shape becomes a square of pixels; see `decode_image` for each field."""

    size: int
    fit: str = "squash"
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0
    view: View | None = None

    def place(self, width: int, height: int) -> tuple[Box, tuple[int, int]]:
        """Return which box of a picture is taken, and the size that it is resampled to."""
        if self.view is not None:
            return self.view.box(width, height), (self.size, self.size)
        if self.fit == "crop":
            return _centre_box(width, height, self.crop_fraction), (self.size, self.size)
        whole = (0, 0, width, height)
        if self.fit == "pad":
            return whole, _padded(width, height, self.size)
        return whole, (self.size, self.size)


def decode_images(
    data: bytes,
    framings: Sequence[Framing],
    measure: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> list[Decoded]:
    """Decode one file and frame it in several ways; see `decode_image`, which gives the same.

    A JPEG is decoded once for each scale that its framings ask for, any other file once. With
    `measure` the first result tells as well what the picture looks like.

    Raises
    ------
    ImageError
        If the file cannot be decoded, whatever is wrong with it; ``cause`` is one short line.
    UnknownNameError
        If the fit or interpolation of a framing is not one of those that a spec knows.
    MemoryError, OSError
        If the machine is at its limits. That says nothing of the file.
    """
    for framing in framings:
        if framing.fit not in FITS:
            raise UnknownNameError.nearest("fit", framing.fit, FITS)
        if framing.interpolation not in INTERPOLATIONS:
            raise UnknownNameError.nearest("interpolation", framing.interpolation, INTERPOLATIONS)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    loaded: dict[float, _Picture] = {}
    try:
        with _pillow_warnings_ignored():
            check_header(data)
            framed = [_frame(data, framing, loaded, max_pixels) for framing in framings]
            if measure:
                seen = dict(zip(framings, framed, strict=True))
                picture = _measured(data, seen, next(iter(loaded.values())))
                framed[0] = framed[0]._replace(picture=picture)
            return framed
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # the system's; Pillow's own have no number
            raise
        # Broad on purpose: on damaged files Pillow and its codecs raise nearly every builtin
        # (OSError, SyntaxError, struct.error, KeyError, AssertionError, zlib.error), and one bad
        # image among 100,000 must not end the run.
        raise ImageError(_reason(error, data)) from error


class _Picture(NamedTuple):
    """A decoded picture, its original size, and how it must be turned to stand upright."""

    flat: Image.Image
    width: int
    height: int
    turn: Image.Transpose | None
    exif: bytes


def _frame(
    data: bytes, framing: Framing, loaded: dict[float, _Picture], max_pixels: int
) -> Decoded:
    """Frame the picture in `data`, which is decoded unless `loaded` has it at the right scale."""
    reduced = format_of(data[:16]) == "JPEG" and framing.interpolation != "nearest"
    scale = _reduce(data, framing, loaded, max_pixels) if reduced else _WHOLE
    if scale not in loaded:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_pixels(*image.size, max_pixels)
            image.load()
            # After loading: some versions of Pillow turn a TIFF then.
            loaded[scale] = _picture(image, *image.size)
    flat, width, height, turn, _ = loaded[scale]
    box, target = framing.place(width, height)
    if reduced:
        # The box keeps its fractions: at 1/8, the last block of a side that is no multiple of 8 is
        # only partly picture.
        left, top, right, bottom = box
        box = (scale * left, scale * top, scale * right, scale * bottom)
    filter_ = Image.Resampling[framing.interpolation.upper()]
    small = flat.resize(target, filter_, box=box, reducing_gap=_GAP)
    if turn is not None:  # turning the small picture is free, and equal: all is symmetric
        small = small.transpose(turn)
        if turn in _SIDEWAYS:
            width, height = height, width
    pixels = np.asarray(_centred(small.convert("RGB"), framing.size))
    return Decoded(framing.view.apply(pixels) if framing.view else pixels, width, height)


def _reduce(data: bytes, framing: Framing, loaded: dict[float, _Picture], max_pixels: int) -> float:
    """Decode a JPEG at the smallest scale of 1, 1/2, 1/4, 1/8 that suffices, and return the scale.

    Decoding at 1/s needs s^2 times fewer inverse transforms.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        check_pixels(*image.size, max_pixels)
        width, height = image.size
        (left, top, right, bottom), target = framing.place(width, height)
        wanted = (
            math.ceil(_GAP * target[0] * width / (right - left)),
            math.ceil(_GAP * target[1] * height / (bottom - top)),
        )
        drafted: Any = image.draft(None, wanted)  # type: ignore[arg-type]
        scale = drafted[1][2] / width if drafted else 1.0
        if scale not in loaded:
            image.load()
            loaded[scale] = _picture(image, width, height)
    return scale


def _picture(image: Any, width: int, height: int) -> _Picture:
    exif = image.info.get("exif", b"")
    turn = None if image.format == "TIFF" else _UPRIGHT.get(orientation(exif))
    return _Picture(_flatten(image), width, height, turn, exif)


def _measured(data: bytes, framed: Mapping[Framing, Decoded], picture: _Picture) -> np.void:
    """Measure a picture that is decoded already, as the default network sees it."""
    whole = [f for f in framed if (f.size, f.fit, f.view) == (SIDE, "squash", None)]
    if whole:
        pixels = framed[whole[0]].pixels
    else:
        small = picture.flat.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=_GAP)
        small = small if picture.turn is None else small.transpose(picture.turn)
        pixels = np.asarray(small.convert("RGB"))
    kind = format_of(data[:16]) or ""
    return measure_picture(pixels, kind, *camera_and_time(data if kind == "TIFF" else picture.exif))


def _padded(width: int, height: int, size: int) -> tuple[int, int]:
    """Return the width and height of the whole picture fitted into the square."""
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _centre_box(width: int, height: int, fraction: float) -> Box:
    """Return (left, top, right, bottom) of the centred square of `fraction` of the shorter side.

    The box is not rounded to pixels: it stays exactly centred, and resampling takes fractions.
    """
    side = fraction * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _centred(image: Image.Image, size: int) -> Image.Image:
    """Put a picture that does not fill the square in the middle of a black one."""
    if image.size == (size, size):
        return image
    square = Image.new("RGB", (size, size))
    square.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return square


def _flatten(image: Image.Image) -> Image.Image:
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


def _reason(error: Exception, data: bytes) -> str:
    """Turn what Pillow raised into one short line."""
    kind = format_of(data[:16])
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
# threads; one more filter that answers only for threads inside `decode_images` is.

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
