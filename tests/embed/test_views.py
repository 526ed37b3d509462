"""Views are deterministic, inside the picture, and really look different."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from tlx.embed.images import decode_image
from tlx.embed.views import view_of

DIGEST = hashlib.sha256(b"photo").digest()


@pytest.fixture
def photo() -> bytes:
    random = np.random.default_rng(0)
    pixels = np.kron(random.integers(0, 256, (6, 8, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_view_0_is_the_plain_image():
    assert view_of(DIGEST, 0) is None


def test_a_view_depends_on_digest_and_number_alone():
    assert view_of(DIGEST, 3) == view_of(DIGEST, 3)
    assert view_of(DIGEST, 3) != view_of(DIGEST, 4)
    assert view_of(DIGEST, 3) != view_of(hashlib.sha256(b"other").digest(), 3)


@pytest.mark.parametrize("size", [(640, 480), (1, 1), (20000, 3)])
def test_crops_lie_inside_the_picture(size):
    for k in range(1, 200):
        view = view_of(DIGEST, k)
        left, top, right, bottom = view.box(*size)
        assert -1e-9 <= left < right <= size[0] + 1e-9
        assert -1e-9 <= top < bottom <= size[1] + 1e-9


def test_crops_keep_at_least_half_of_the_picture_but_for_clipped_sides():
    areas = [view_of(DIGEST, k).width * view_of(DIGEST, k).height for k in range(1, 300)]
    assert min(areas) > 0.45
    assert np.mean(areas) == pytest.approx(0.74, abs=0.04)


def test_about_half_of_the_views_are_mirrored():
    assert 110 < sum(view_of(DIGEST, k).flip for k in range(1, 301)) < 190


def test_a_decoded_view_differs_from_the_plain_image_and_repeats(photo):
    plain = decode_image(photo, 64).pixels
    view = decode_image(photo, 64, view=view_of(DIGEST, 1)).pixels
    again = decode_image(photo, 64, view=view_of(DIGEST, 1)).pixels
    assert view.shape == plain.shape
    assert view.dtype == np.uint8
    assert np.abs(view.astype(int) - plain).mean() > 10
    np.testing.assert_array_equal(view, again)
