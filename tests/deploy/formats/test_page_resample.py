"""The page's own resampling gives what Pillow gives, to the last byte."""

from __future__ import annotations

import io
import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tlx
from tlx.embed.images import decode_image

SCRIPT = Path(tlx.__file__).parent / "deploy" / "formats" / "page" / "resample.js"
RUN = """
const fs = require("fs"), { frame } = require(process.argv[1]), all = fs.readFileSync(0);
const cases = JSON.parse(process.argv[2]);
let at = 0;
for (const one of cases) {
  const { width, height, channels } = one, end = at + width * height * channels;
  const data = new Uint8ClampedArray(all.subarray(at, end));
  fs.writeSync(1, Buffer.from(frame({ data, width, height, channels }, one)));
  at = end;
}
"""


def framed(pictures, options):
    """Return the squares that the page makes of pictures (H, W, channels) uint8."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed")
    cases = [
        {"height": p.shape[0], "width": p.shape[1], "channels": p.shape[2], **each}
        for p, each in zip(pictures, options, strict=True)
    ]
    done = subprocess.run(
        [node, "-e", RUN, str(SCRIPT), json.dumps(cases)],
        input=b"".join(p.tobytes() for p in pictures), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    squares, start = [], 0
    for case in cases:
        size = case["size"]
        end = start + size * size * 3
        squares.append(np.frombuffer(done.stdout[start:end], np.uint8).reshape(size, size, 3))
        start = end
    assert start == len(done.stdout)
    return squares


def test_every_fit_and_filter_equals_pillow():
    rng = np.random.default_rng(0)
    fits = ("squash", "crop", "pad")
    filters = ("nearest", "bilinear", "bicubic", "lanczos")
    shapes = [(1, 1), (300, 7), (5, 211), (32, 32), (97, 64), (223, 350), (411, 410)]
    pictures, options, expected = [], [], []
    for (fit, filter_), shape in itertools.product(itertools.product(fits, filters), shapes):
        pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        size = int(rng.choice([17, 32, 64]))
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "BMP")
        expected.append(decode_image(file.getvalue(), size, fit=fit, interpolation=filter_).pixels)
        pictures.append(pixels)
        options.append({"size": size, "fit": fit, "interpolation": filter_, "jpeg": False})
    for option, found, pixels in zip(options, framed(pictures, options), expected, strict=True):
        np.testing.assert_array_equal(found, pixels, err_msg=str(option))


def test_a_fourth_channel_is_passed_over():
    pixels = np.random.default_rng(1).integers(0, 256, (50, 70, 4), dtype=np.uint8)
    option = {"size": 20, "fit": "squash", "interpolation": "bilinear", "jpeg": False}
    four, three = framed([pixels, pixels[..., :3].copy()], [option, option])
    np.testing.assert_array_equal(four, three)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_large_jpeg_is_shrunk_as_its_decoder_does(fit, camera_photo):
    """What remains is what the decoder rounds, and the colours that it does not interpolate."""
    data = camera_photo(1100, 820)
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    expected = decode_image(data, 64, fit=fit).pixels
    option = {"size": 64, "fit": fit, "interpolation": "bilinear", "jpeg": True}
    (found,) = framed([pixels], [option])
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 8
    assert difference.mean() < 0.5
