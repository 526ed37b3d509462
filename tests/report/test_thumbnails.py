import base64
import hashlib
import io

import pytest
from PIL import Image

from tlx.report.thumbnails import SIDE, thumbnail, thumbnails


@pytest.fixture
def photo(tmp_path):
    """Return a function that writes a picture and returns its path and digest."""

    def write(name="a.png", size=(400, 200), mode="RGB"):
        path = tmp_path / name
        Image.new(mode, size, "red").save(path)
        return str(path), hashlib.sha256(path.read_bytes()).hexdigest()

    return write


def opened(small):
    kind, text = small.uri.split(",")
    assert kind.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


@pytest.mark.parametrize(
    ("size", "shape"), [((400, 200), (SIDE, SIDE // 2)), ((8, 32), (32, SIDE))]
)
def test_it_is_small_and_keeps_its_shape(photo, size, shape):
    picture = opened(thumbnail(*photo(size=size)))
    assert picture.size == shape
    assert picture.getpixel((1, 1))[0] > 200  # no border of the square is left


def test_what_is_gone_changed_or_no_picture_has_none(photo, tmp_path):
    path, digest = photo()
    text = tmp_path / "text.png"
    text.write_bytes(b"no picture")
    assert thumbnail(path, "0" * 64) is None
    assert thumbnail(str(tmp_path / "gone.png"), digest) is None
    assert thumbnail(str(tmp_path), digest) is None
    assert thumbnail(str(text), hashlib.sha256(b"no picture").hexdigest()) is None
    assert thumbnail("", "") is None


def test_they_come_in_order_until_the_room_is_used(photo):
    files = [photo(f"{k}.png", size=(100 + k, 50)) for k in range(5)]
    files[1] = ("/nowhere.png", "")
    every = list(thumbnails(files, 10**6))
    assert [small is None for small in every] == [False, True, False, False, False]
    room = sum(len(small.uri) for small in every[:3] if small)
    assert list(thumbnails(files, room)) == every[:3]
