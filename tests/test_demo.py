"""The digits that every installation has."""

from __future__ import annotations

from PIL import Image

from tlx.demo import write_digits


def test_digits_are_written_once_and_a_missing_one_again(tmp_path):
    assert write_digits(tmp_path) == 1797
    assert sorted(path.name for path in tmp_path.iterdir()) == list("0123456789")
    (tmp_path / "0" / "0000.png").unlink()
    assert write_digits(tmp_path) == 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_digit_is_dark_on_white(tmp_path):
    write_digits(tmp_path)
    with Image.open(tmp_path / "0" / "0000.png") as image:
        assert image.size == (64, 64)
        assert image.getpixel((0, 0)) == 255
        assert image.getextrema()[0] < 64
