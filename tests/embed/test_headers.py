"""Files known by their first bytes, and hostile ones refused before they cost anything."""

from __future__ import annotations

import time
import zlib

import pytest
from image_helpers import encode, photo, picture, png_chunk, png_header, reason, tiff_of_tags
from PIL import Image

from tlx.embed.headers import (
    FORMATS,
    MAX_PIXELS,
    camera_and_time,
    format_of,
    looks_like_image,
)
from tlx.embed.images import decode_image

# Recognising files


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_is_recognised_by_its_first_bytes(kind):
    head = encode(picture(), kind)[:16]
    assert looks_like_image("no-suffix", head)
    assert format_of(head) == kind


@pytest.mark.parametrize("name", ["a.JPG", "b.tiff", "c.HEIC", "d.avif", "x/y.z/e.jpeg"])
def test_an_image_is_recognised_by_its_suffix(name):
    assert looks_like_image(name, b"")


@pytest.mark.parametrize(
    ("name", "head"),
    [("notes.txt", b"BM was not here."), ("jpg", b""), (".DS_Store", b"\0\0\0\1Bud1"), ("a", b"")],
)
def test_other_files_are_passed_over(name, head):
    assert not looks_like_image(name, head)


# Hostile files


def test_a_pixel_flood_is_refused_by_its_header():
    data = png_header(20_000, 5_000) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert reason(data) == "too many pixels: 20000x5000, at most 89 million"


def test_a_pixel_flood_beyond_pillows_own_limit_is_refused():
    data = png_header(60_000, 60_000) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert reason(data) == "too many pixels: at most 89 million"


def test_a_user_who_lifts_pillows_limit_does_not_lift_ours(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    data = png_header(60_000, 60_000) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert reason(data) == "too many pixels: 60000x60000, at most 89 million"
    assert MAX_PIXELS < 60_000**2


def test_truncated_files_stay_errors_when_another_library_allows_them(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    data = encode(photo(200, 200), "JPEG")
    assert reason(data[: len(data) // 2]) == "truncated JPEG"


@pytest.mark.parametrize("chunk", [b"zTXt", b"iCCP"])
def test_a_compressed_bomb_beside_the_pixels_of_a_png_is_refused(chunk):
    bomb = png_chunk(chunk, b"k\0\0" + zlib.compress(bytes(50_000_000)))
    data = encode(picture(), "PNG")
    assert reason(data[:33] + bomb + data[33:]).startswith("damaged PNG")


def test_a_jpeg_of_thousands_of_scans_is_refused_at_once():
    data = encode(Image.new("RGB", (3000, 3000)), "JPEG", progressive=True)
    last, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    flood = data[:end] + data[last:end] * 20_000 + data[end:]
    start = time.perf_counter()
    assert reason(flood) == "JPEG of more than 100 scans"
    assert time.perf_counter() - start < 1


def test_scan_markers_in_a_film_after_the_photo_do_not_count():
    data = encode(picture(), "JPEG", progressive=True) + b"\xff\xda\0\x02" * 1000
    assert decode_image(data, 8).pixels.shape == (8, 8, 3)


def test_a_jpeg_of_endless_segments_is_refused():
    data = encode(picture(), "JPEG")
    assert "segments" in reason(data[:2] + b"\xff\xfe\0\x02" * 50_000 + data[2:])


def test_a_png_of_endless_chunks_is_refused():
    data = encode(picture(), "PNG")
    flood = data[:33] + png_chunk(b"abCd", b"") * 300_000 + data[33:]
    assert reason(flood) == "PNG of more than 200,000 chunks"


def test_zeros_after_a_png_do_no_harm():
    data = encode(picture(), "PNG") + bytes(3_000_000)
    assert decode_image(data, 8).pixels.shape == (8, 8, 3)


def test_junk_before_a_jpegs_first_scan_is_refused():
    data = encode(picture(), "JPEG")
    assert "no segment" in reason(data[:20] + bytes(10**6) + data[20:])


def test_tags_that_overlap_into_gigabytes_are_refused():
    tags = [(40_000 + n, 7, 2**22, 8) for n in range(1000)]
    assert reason(tiff_of_tags(tags) + bytes(2**22)) == "TIFF tags of absurd size"


def test_exif_tags_that_overlap_into_gigabytes_are_refused():
    exif = b"Exif\0\0" + tiff_of_tags([(40_000 + n, 7, 60_000, 8) for n in range(4000)])
    assert reason(encode(picture(), "JPEG", exif=exif)) == "EXIF tags of absurd size"


def test_a_tiff_of_millions_of_strips_is_refused():
    strips = tiff_of_tags([(256, 3, 1, 8), (257, 3, 1, 8), (273, 4, 2**21, 100)])
    assert reason(strips + bytes(2**23)) == "TIFF tags of absurd size"


# What cameras write down


def photo_tags() -> Image.Exif:
    exif = Image.Exif()
    exif[272] = "Pixel 8"
    exif.get_ifd(34665)[36867] = "2026:11:30 18:05:00"
    return exif


def test_camera_and_time_are_read_from_exif():
    assert camera_and_time(photo_tags().tobytes()) == ("Pixel 8", "2026:11:30 18:05:00")


def test_a_tiff_is_its_own_exif():
    data = encode(picture(), "TIFF", exif=photo_tags())  # which Pillow writes without the time
    assert camera_and_time(data) == ("Pixel 8", "")


def test_a_short_text_is_in_the_tag_itself():
    exif = Image.Exif()
    exif[272] = "X1"
    assert camera_and_time(exif.tobytes()) == ("X1", "")


def test_camera_and_time_of_damaged_exif_are_empty_or_cut_but_no_error():
    data = photo_tags().tobytes()
    for place in range(len(data)):
        camera_and_time(data[:place])
        camera_and_time(data[:place] + b"\xff" + data[place + 1 :])
    assert camera_and_time(b"") == camera_and_time(b"Exif\0\0II*\0") == ("", "")


def test_a_text_of_a_gigabyte_is_not_read():
    tiff = tiff_of_tags([(272, 2, 2**30, 0)])
    assert len(camera_and_time(tiff + bytes([65]) * 1000)[0]) <= 64
