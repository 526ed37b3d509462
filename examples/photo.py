"""What the programs here share: a photo as an exported network sees it, and what it said.

Needs Pillow and NumPy. It does what ``predictor.json`` says, pixel for pixel what tlx does itself.
"""

import json
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def read_predictor(folder):
    """Return what ``predictor.json`` says, and the path of the network beside it."""
    predictor = json.loads(Path(folder, "predictor.json").read_text(encoding="utf-8"))
    return predictor, str(Path(folder, predictor["file"]))


def pixels(file, predictor):
    """Return a photo as a batch of one: (1, size, size, 3) uint8."""
    size, fit = predictor["image_size"], predictor["fit"]
    resampling = Image.Resampling[predictor["interpolation"].upper()]
    image = Image.open(file)
    width, height = image.size
    side = min(width, height) if fit == "crop" else 0
    left, top = ((width - side) / 2, (height - side) / 2) if side else (0, 0)
    across, down = (side, side) if side else (width, height)  # of the part that is taken
    target = (size, size)
    if fit == "pad":
        longer = max(width, height)
        target = (max(1, round(width * size / longer)), max(1, round(height * size / longer)))

    scale = 1.0  # a large JPEG is decoded smaller, with twice the wanted size left
    if image.format == "JPEG" and resampling != Image.Resampling.NEAREST:
        wanted = math.ceil(2 * target[0] * width / across), math.ceil(2 * target[1] * height / down)
        scale = image.draft(None, wanted)[1][2] / width
    box = [scale * edge for edge in (left, top, left + across, top + down)]
    if image.mode.startswith("I"):  # grey of 16 bits
        image = Image.fromarray(((np.asarray(image, np.int64) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    small = image.convert("RGB").resize(target, resampling, box, reducing_gap=2.0)
    upright = ImageOps.exif_transpose(small)
    square = Image.new("RGB", (size, size))
    square.paste(upright, ((size - upright.width) // 2, (size - upright.height) // 2))
    return np.asarray(square)[None]


def say(file, predictor, probabilities):
    """Print the most probable class of a photo, between tabs; probabilities have shape (1, C)."""
    best = int(np.argmax(probabilities[0]))
    print(file, predictor["class_names"][best], f"{probabilities[0][best]:.5f}", sep="\t")
