"""What a picture looks like: numbers that hold whatever the size of the file."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from image_helpers import encode, photo, picture
from PIL import Image, ImageFilter

from tlx.embed.headers import FORMATS
from tlx.embed.images import Framing, decode_image, decode_images
from tlx.embed.measure import SIDE, measure_picture
from tlx.embed.views import View


def seen(image: Image.Image) -> np.void:
    small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return measure_picture(np.asarray(small))


def flat(*colour: int) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), colour)


def test_light_is_told_from_0_to_1():
    black, white = seen(flat(0, 0, 0)), seen(flat(255, 255, 255))
    for name in ("brightness", "shadows", "highlights"):
        assert (black[name], white[name]) == (0, 1)


def test_a_dark_picture_with_a_lamp_has_shadows_and_highlights():
    image = flat(10, 10, 10)
    image.paste((250, 250, 250), (0, 0, SIDE, SIDE // 8))
    found = seen(image)
    assert found["shadows"] == pytest.approx(10 / 255)
    assert found["highlights"] == pytest.approx(250 / 255)
    assert 0.1 < found["brightness"] < 0.2


def test_contrast_is_the_standard_deviation_of_grey_levels():
    image = flat(0, 0, 0)
    image.paste((255, 255, 255), (0, 0, SIDE // 2, SIDE))
    assert seen(image)["contrast"] == pytest.approx(0.5, abs=0.01)
    assert seen(flat(90, 20, 200))["contrast"] == 0


@pytest.mark.slow
def test_the_wider_the_blur_the_less_sharp():
    found = [
        float(seen(photo().filter(ImageFilter.GaussianBlur(r)))["sharpness"])
        for r in (0, 8, 20, 60)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 1.5 * found[-1]


def test_sharpness_does_not_depend_on_light_or_contrast():
    image = photo()
    dark = Image.eval(image, lambda level: level // 2)
    assert seen(dark)["sharpness"] == pytest.approx(seen(image)["sharpness"], rel=0.1)


def test_grey_has_no_colour_and_red_against_green_much():
    image = flat(255, 0, 0)
    image.paste((0, 255, 0), (0, 0, SIDE // 2, SIDE))
    assert seen(picture().convert("L"))["colourfulness"] == pytest.approx(0, abs=1e-6)
    assert seen(image)["colourfulness"] > 1


def test_uniformity_is_the_share_of_one_level():
    image = flat(100, 100, 100)
    image.paste((200, 200, 200), (0, 0, SIDE // 4, SIDE))
    assert seen(image)["uniformity"] == pytest.approx(0.75)
    assert seen(flat(3, 200, 7))["uniformity"] == 1


def test_the_thumbnail_is_the_mean_of_each_field():
    small = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    image = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    assert np.array_equal(seen(image)["thumb"], small)


def test_a_time_is_seconds_from_1970_on_the_clock_of_the_camera():
    found = measure_picture(np.asarray(flat(1, 2, 3)), "JPEG", "Pixel\t8 ", "2026:11:30 18:05:00")
    when = datetime.datetime.fromtimestamp(float(found["taken"]), datetime.timezone.utc)
    assert when.isoformat() == "2026-11-30T18:05:00+00:00"
    assert (found["format"], found["camera"]) == (b"JPEG", b"Pixel 8")


@pytest.mark.parametrize("taken", ["", "0000:00:00 00:00:00", "yesterday", "2026:13:41 25:00:00"])
def test_what_is_no_time_is_none(taken):
    assert np.isnan(measure_picture(np.asarray(flat(1, 2, 3)), taken=taken)["taken"])


def test_a_name_of_a_camera_may_be_hostile():
    found = measure_picture(np.asarray(flat(1, 2, 3)), camera="\0é\n" + 1000 * "x")
    assert len(found["camera"]) == 40


# While a file is decoded


def look(data: bytes, *framings: Framing) -> np.void:
    found = decode_images(data, framings, measure=True)[0].picture
    assert found is not None
    return found


def test_nothing_is_measured_unless_asked_for():
    assert decode_image(encode(picture(), "PNG"), 32).picture is None


@pytest.mark.parametrize("kind", FORMATS)
def test_the_format_of_the_file_is_told(kind):
    assert look(encode(picture(), kind), Framing(32))["format"].decode() == kind


@pytest.mark.parametrize(
    "framing",
    [
        Framing(224, "crop"),
        Framing(224, "pad"),
        Framing(300),
        Framing(224, view=View(0.5, 0.5, 0, 0, True, 1, 1, 1)),
    ],
)
def test_a_picture_is_measured_whole_however_it_is_framed(framing):
    data = encode(photo(500, 400), "PNG")
    one, other = look(data, framing), look(data, Framing(224))
    assert one.tobytes() == other.tobytes()
    assert look(data, framing, Framing(224)).tobytes() == other.tobytes()


@pytest.mark.parametrize("framing", [Framing(224), Framing(64)])
def test_the_thumbnail_stands_upright(framing):
    exif = Image.Exif()
    exif[274] = 6
    exif[272] = "Pixel 8"
    stored, upright = photo(400, 300), photo(400, 300).transpose(Image.Transpose.ROTATE_270)
    turned = look(encode(stored, "PNG", exif=exif), framing)
    plain = look(encode(upright, "PNG"), framing)
    assert np.abs(turned["thumb"].astype(int) - plain["thumb"]).max() <= 2
    assert (turned["camera"], plain["camera"]) == (b"Pixel 8", b"")


def test_broken_exif_costs_neither_the_picture_nor_its_measures():
    data = encode(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.isfinite(look(data, Framing(32))["brightness"])
