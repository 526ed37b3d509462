"""Print by how much each format differs from its run: every head, every format, on real images.

    python benchmarks/export.py DATA --backbone efficientnet-lite0 --backbone keras:small.keras

DATA is a folder with one folder a class. For each backbone all heads are fitted, and each is
written in every format that is installed; a cell is the largest difference of any probability on
64 images, between the opened file and what the run says of the same images. A cell in which a label
differs says so. Unlike ``tlx export`` this opens the files in its own process, which is quicker.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import tlx
from tlx.classify.heads.registry import heads
from tlx.deploy.formats.format import Order
from tlx.deploy.formats.registry import formats
from tlx.deploy.network import input_spec, run_network
from tlx.deploy.parity import Reference, check_images, compare, reference
from tlx.embed.images import decode_image
from tlx.errors import MissingExtraError
from tlx.workspace import Workspace


def installed() -> list[Any]:
    """Return the formats of one network's file that can be written here."""
    found = []
    for kind in formats().values():
        try:
            kind.require()
        except MissingExtraError as error:
            print(f"{kind.name} is left out: {error.cause}")
        else:
            found.append(kind)
    return [kind for kind in found if kind.check_runtime is None]


def pixels_of(run: Any, expected: Reference) -> np.ndarray:
    spec = input_spec(run)
    framing = {"fit": spec.fit, "interpolation": spec.interpolation}
    read = [Path(file).read_bytes() for file in expected.files]
    return np.stack([decode_image(data, spec.image_size, **framing).pixels for data in read])


def row_of(run: Any, kinds: list[Any], workspace: Path) -> list[str]:
    """Return the cells of one run, a format each."""
    expected = reference(run, check_images(run, Workspace(workspace)))
    pixels, network, spec = pixels_of(run, expected), run_network(run), input_spec(run)
    note = {"class_names": list(run.class_names), "image_size": spec.image_size}
    cells = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, kind.file)
            kind.write(network, path, Order({**note, "fit": spec.fit}))
            parity = compare(expected.probabilities, kind.open(path)(pixels))
        labels = "" if parity.labels_equal else ", labels differ"
        cells.append(f"{parity.largest_difference:.0e}{labels}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", action="append", metavar="NAME")
    parser.add_argument("--model", action="append", metavar="HEAD", choices=list(heads()))
    options = parser.parse_args()
    kinds, started = installed(), time.perf_counter()
    for backbone in options.backbone or ["efficientnet-lite0"]:
        print(f"\n{backbone}\n\n| head | " + " | ".join(kind.name for kind in kinds) + " |")
        print("|---" * (len(kinds) + 1) + "|")
        with tempfile.TemporaryDirectory() as place:
            workspace = Path(place, ".tlx")
            tlx.embed_images(options.data, backbone=backbone, workspace=workspace)
            for model in options.model or heads():
                run = tlx.fit_head(model, workspace=workspace)
                print("| " + " | ".join([model, *row_of(run, kinds, workspace)]) + " |", flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
