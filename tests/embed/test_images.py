"""Decoding: right pixels from every kind of file, one short reason from every bad one."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_helpers import encode, photo, picture, png_chunk, png_header, reason, tiff_of_tags
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin

from tlx.embed.headers import FORMATS
from tlx.embed.images import decode_image
from tlx.errors import ImageError, UnknownNameError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - np.asarray(b).astype(int)).mean())


# What comes out


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_decodes_to_uint8_rgb_of_the_size_asked_for(kind):
    decoded = decode_image(encode(picture(), kind), 32)
    assert decoded.pixels.shape == (32, 32, 3)
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height) == (60, 40)
    expected = picture().resize((32, 32), Image.Resampling.BILINEAR)
    assert mean_difference(decoded.pixels, np.asarray(expected)) < 8  # GIF has 256 colours


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_small_lossless_picture_is_pillows_own_resize_exactly(kind, name):
    decoded = decode_image(encode(picture(), kind), 32, interpolation=name)
    expected = picture().resize((32, 32), Image.Resampling[name.upper()], reducing_gap=2.0)
    np.testing.assert_array_equal(decoded.pixels, expected)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("width", "height"), [(2000, 1500), (1999, 1501)])
def test_reduced_decoding_of_a_large_jpeg_is_close_to_the_full_one(width, height, progressive):
    data = encode(photo(width, height), "JPEG", quality=90, progressive=progressive)
    full = Image.open(io.BytesIO(data)).resize((100, 100), Image.Resampling.BILINEAR)
    assert mean_difference(decode_image(data, 100).pixels, np.asarray(full)) < 1.0


def test_crop_of_a_large_jpeg_is_not_shifted_by_reduced_decoding():
    data = encode(photo(1999, 1001), "JPEG", quality=95)
    box = (499, 0, 1500, 1001)
    full = Image.open(io.BytesIO(data)).resize((100, 100), Image.Resampling.BILINEAR, box=box)
    assert mean_difference(decode_image(data, 100, fit="crop").pixels, np.asarray(full)) < 1.0


def test_crop_takes_the_largest_centred_square():
    data = encode(picture(60, 40), "PNG")
    expected = picture(60, 40).crop((10, 0, 50, 40))
    np.testing.assert_array_equal(decode_image(data, 40, fit="crop").pixels, expected)


def test_crop_fraction_takes_that_part_of_the_shorter_side():
    data = encode(picture(64, 40), "PNG")
    cropped = decode_image(data, 20, fit="crop", crop_fraction=0.5)
    np.testing.assert_array_equal(cropped.pixels, picture(64, 40).crop((22, 10, 42, 30)))
    assert (cropped.width, cropped.height) == (64, 40)


def test_pad_keeps_the_aspect_ratio_on_black():
    white = Image.new("RGB", (60, 30), "white")
    pixels = decode_image(encode(white, "PNG"), 60, fit="pad").pixels
    assert (pixels[15:45] == 255).all()
    assert (pixels[:15] == 0).all()
    assert (pixels[45:] == 0).all()


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (20_000, 3), (3, 20_000)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_extreme_shapes_decode(fit, shape, kind):
    data = encode(Image.new("RGB", shape, "white"), kind)
    pixels = decode_image(data, 16, fit=fit, crop_fraction=0.875).pixels
    assert pixels.shape == (16, 16, 3)
    assert (pixels[8, 8] == 255).all() or fit == "pad"


def test_an_unknown_fit_or_interpolation_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="squash"):
        decode_image(b"", 8, fit="squish")
    with pytest.raises(UnknownNameError, match="bilinear"):
        decode_image(b"", 8, interpolation="bilinea")


# Orientation


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, kind, fit):
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = encode(picture(), kind, exif=exif_of(orientation), **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(stored)))
    decoded = decode_image(stored, 24, fit=fit)
    expected = decode_image(encode(upright, "PNG"), 24, fit=fit)
    assert (decoded.width, decoded.height) == upright.size
    assert mean_difference(decoded.pixels, expected.pixels) < 1.0


def test_orientation_6_shows_the_stored_left_edge_on_top():
    stored = Image.new("RGB", (40, 40), "blue")
    stored.paste("red", (0, 0, 20, 40))
    pixels = decode_image(encode(stored, "PNG", exif=exif_of(6)), 40).pixels
    assert tuple(pixels[5, 20]) == RED
    assert tuple(pixels[35, 20]) == BLUE


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01",
        exif_of(6)[:-3],
        exif_of(9),
        b"Exif\0\0" + tiff_of_tags([(282, 5, 2**31, 2**31), (274, 2, 1, 6)]),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_picture(exif, kind):
    assert decode_image(encode(picture(), kind, exif=exif), 24).pixels.shape == (24, 24, 3)


# Modes


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    for alpha in (0, 1, 100, 254, 255):
        data = encode(Image.new("RGBA", (4, 4), (10, 20, 200, alpha)), kind, **options)
        expected = [round((c * alpha + 255 * (255 - alpha)) / 255) for c in (10, 20, 200)]
        assert decode_image(data, 4).pixels[2, 2].tolist() == expected


def test_grey_with_alpha_is_laid_on_white():
    data = encode(Image.new("LA", (4, 4), (100, 51)), "PNG")
    assert decode_image(data, 4).pixels[0, 0].tolist() == [224, 224, 224]


@pytest.mark.parametrize(
    ("image", "key"),
    [
        (Image.new("RGB", (4, 4), (1, 2, 3)), (1, 2, 3)),
        (Image.new("L", (4, 4), 7), 7),
        (Image.new("1", (4, 4), 0), 0),
        (Image.fromarray(np.full((4, 4), 300, np.uint16)), 300),
        (Image.new("P", (4, 4), 0), 0),
        (Image.new("P", (4, 4), 0), b"\0"),
    ],
)
def test_a_png_transparent_colour_is_white(image, key):
    if image.mode == "P":
        image.putpalette([9, 9, 9])
    assert (decode_image(encode(image, "PNG", transparency=key), 4).pixels == 255).all()


def test_a_transparent_gif_is_white_where_transparent():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(0, (0, 0, 2, 4))
    pixels = decode_image(encode(image, "GIF", transparency=0), 4).pixels
    assert tuple(pixels[0, 0]) == WHITE
    assert tuple(pixels[0, 3]) == RED


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(kind):
    values = np.linspace(0, 65535, 256).round().astype(np.uint16)
    data = encode(Image.fromarray(np.tile(values, (256, 1))), kind)
    pixels = decode_image(data, 256, interpolation="nearest").pixels
    expected = np.round(255 * values.astype(float) / 65535)
    np.testing.assert_array_equal(pixels[0, :, 0], expected)


def test_16_bit_grey_rounds_exactly():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = decode_image(encode(Image.fromarray(values), "PNG"), 256).pixels
    np.testing.assert_array_equal(pixels[..., 0], np.round(values.astype(float) / 257))


def test_big_endian_16_bit_tiff_is_read_as_such():
    image = Image.frombytes("I;16B", (2, 2), struct.pack(">4H", 0, 65535, 257 * 128, 257))
    pixels = decode_image(encode(image, "TIFF"), 2).pixels
    assert pixels[..., 0].tolist() == [[0, 255], [128, 1]]


def test_16_bit_rgb_png_decodes():
    row = b"\0" + struct.pack(">6H", 65535, 0, 0, 0, 65535, 0)
    body = png_chunk(b"IDAT", zlib.compress(row)) + png_chunk(b"IEND", b"")
    pixels = decode_image(png_header(2, 1, depth=16) + body, 2).pixels
    assert tuple(pixels[0, 0]) == RED
    assert tuple(pixels[0, 1]) == GREEN


def test_32_bit_integers_within_16_bits_are_scaled():
    data = encode(Image.fromarray(np.full((4, 4), 65535, np.int32)), "TIFF")
    assert (decode_image(data, 4).pixels == 255).all()


def test_32_bit_integers_beyond_16_bits_are_refused_with_their_range():
    data = encode(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF")
    assert "70000" in reason(data)


@pytest.mark.parametrize(("value", "expected"), [(0.5, 128), (1.0, 255), (200.0, 200)])
def test_floats_are_0_to_1_or_0_to_255(value, expected):
    data = encode(Image.fromarray(np.full((4, 4), value, np.float32)), "TIFF")
    assert (decode_image(data, 4).pixels == expected).all()


@pytest.mark.parametrize("value", [-1.0, 256.0, np.nan, np.inf])
def test_floats_of_another_range_are_refused(value):
    data = encode(Image.fromarray(np.full((4, 4), value, np.float32)), "TIFF")
    assert "0 to 255" in reason(data)


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("1", 1, "PNG", WHITE),
        ("1", 1, "TIFF", WHITE),
        ("L", 77, "JPEG", (77, 77, 77)),
        ("CMYK", (0, 255, 255, 0), "TIFF", RED),
        ("CMYK", (0, 255, 255, 0), "JPEG", RED),
        ("RGBX", (255, 0, 0, 0), "TIFF", RED),
        ("YCbCr", (76, 85, 255), "TIFF", (254, 0, 0)),
    ],
)
def test_other_modes_show_the_right_colour(mode, colour, kind, expected):
    data = encode(Image.new(mode, (16, 16), colour), kind)
    got = decode_image(data, 8).pixels[4, 4].astype(int)
    assert np.abs(got - expected).max() <= 2


def test_lab_tiff_is_converted_or_refused():
    # Whether it is converted depends on how Pillow was built; a wrong colour is never right.
    data = encode(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF")
    with contextlib.suppress(ImageError):
        assert (decode_image(data, 4).pixels > 250).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_counts(kind):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert tuple(decode_image(data, 8).pixels[0, 0]) == RED


def test_a_phones_mpo_file_decodes():
    data = encode(picture(), "MPO", save_all=True, append_images=[picture().rotate(90)])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    decoded = decode_image(data, 24)
    assert mean_difference(decoded.pixels, decode_image(encode(picture(), "PNG"), 24).pixels) < 3


# Bad files


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF"])
def test_half_a_file_is_truncated(kind):
    data = encode(photo(200, 200), kind)
    assert reason(data[: len(data) // 2]) == f"truncated {kind}"


@pytest.mark.parametrize("kind", ["WEBP", "TIFF"])
def test_half_a_file_of_another_format_is_refused(kind):
    data = encode(photo(200, 200), kind)
    assert kind in reason(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (bytes(1000), "not an image (JPEG, PNG, WEBP, GIF, BMP, TIFF)"),
        (b"This is text, whatever its name says.", "not an image"),
        (b"BM is no picture either, it is text", "not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not supported: convert it to JPEG"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF is not supported: convert it to JPEG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000 is not supported"),
        (b"\xff\xd8\xff", "damaged JPEG"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
    ],
)
def test_what_is_no_image_gives_a_reason(data, expected):
    assert reason(data).startswith(expected)


def test_a_format_outside_the_list_is_refused():
    assert reason(encode(picture(), "PPM")).startswith("not an image")


# Silence


def noisy_files() -> list[bytes]:
    """Files of which Pillow warns or logs."""
    palette = Image.new("P", (4, 4))
    palette.putpalette([1, 2, 3])
    plain = encode(picture(), "TIFF")
    return [
        encode(picture(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"),
        encode(palette, "PNG", transparency=b"\x80"),
        png_header(10_000, 9_000) + png_chunk(b"IDAT", b""),
        tiff_of_tags([(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (277, 3, 1, 99)]),
        plain[:-6] + b"\xff" * 6,
        encode(picture(), "TIFF", compression="tiff_lzw")[:-40],
    ]


def decode_or_refuse(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        assert decode_image(data, 8).pixels.shape == (8, 8, 3)


def test_pillows_warnings_and_logs_are_not_printed(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for data in noisy_files():
            decode_or_refuse(data)
    assert capfd.readouterr() == ("", "")


def test_no_warning_escapes_from_worker_threads():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(decode_or_refuse, noisy_files() * 20))
    assert caught == []


def test_the_users_own_pillow_warnings_are_left_alone():
    data = noisy_files()[0]
    decode_or_refuse(data)
    with pytest.warns(UserWarning, match=r"."):
        Image.open(io.BytesIO(data)).getexif()


# Anything at all

VALID = {kind: encode(picture(30, 20), kind) for kind in FORMATS}
VALID_EXIF = encode(picture(30, 20), "JPEG", exif=exif_of(6), progressive=True)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", *(d[:16] for d in VALID.values())]))
def test_random_bytes_decode_or_are_refused(body, head):
    decode_or_refuse(head + body)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from([*VALID.values(), VALID_EXIF]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    st.floats(0, 1),
)
def test_a_damaged_file_decodes_or_is_refused(data, changes, kept):
    damaged = bytearray(data)
    for place, value in changes:
        # Squared: headers, at the start of most formats, get most of the damage.
        damaged[int(place**2 * len(data))] = value
    decode_or_refuse(bytes(damaged[: len(data) if kept > 0.3 else int(3 * kept * len(data))]))


def test_text_chunks_of_ordinary_size_are_no_obstacle():
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 10_000, zip=True)
    assert decode_image(encode(picture(), "PNG", pnginfo=info), 8).pixels.shape == (8, 8, 3)


def test_compressed_tiff_decodes():
    if "tiff_lzw" not in TiffImagePlugin.COMPRESSION_INFO_REV:
        pytest.skip("this Pillow has no libtiff")
    data = encode(picture(), "TIFF", compression="tiff_lzw")
    expected = decode_image(encode(picture(), "PNG"), 8).pixels
    np.testing.assert_array_equal(decode_image(data, 8).pixels, expected)
