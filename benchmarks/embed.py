"""Time an embedding pass against its ceilings and against the recipe that people copy.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/embed.py DATA

DATA is a folder with one folder a class, or with train/ and validation/ of those. Every variant
runs in a process of its own, all of them in turn, several times; the table shows medians.

* ``tlx …``: ``embed_images`` into an empty workspace, the converted model being cached already;
* ``forward``: the engine alone on decoded images, all cores;
* ``decode``: reading and decoding alone, all cores;
* ``both``: what the two ceilings allow together, 1 / (1 / decode + 1 / forward);
* ``recipe``: ``keras.utils.image_dataset_from_directory`` and ``model.predict``, same network and
  size, the images read as the Keras examples read them.

images/s counts the pass alone; "process" is the wall time of the whole process, imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

BACKBONE = "efficientnet-lite0"


def files_of(data: Path) -> list[str]:
    from tlx.embed.dataset import scan

    manifest = scan(data).manifest
    return [manifest.file(row) for row in range(len(manifest))]


def run_tlx(data: Path, engine: str, precision: str) -> tuple[int, float]:
    from tlx import embed_images

    with tempfile.TemporaryDirectory() as workspace:
        started = time.perf_counter()
        result = embed_images(
            data, backbone=BACKBONE, workspace=workspace, engine=engine, precision=precision
        )
        return result.embedded, time.perf_counter() - started


def run_forward(data: Path, engine: str, precision: str) -> tuple[int, float]:
    import numpy as np

    from tlx.embed.backbones.registry import get_backbone
    from tlx.embed.engines.registry import load_engine
    from tlx.embed.extract import BATCH
    from tlx.embed.images import decode_image
    from tlx.embed.pipeline import make_spec

    backbone = get_backbone(BACKBONE)
    spec = make_spec(backbone, precision=precision)
    model = load_engine(backbone, spec, engine)
    some = files_of(data)[:256]
    pixels = np.stack([decode_image(Path(f).read_bytes(), spec.image_size).pixels for f in some])
    model(pixels[:BATCH])
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < 6:
        for start in range(0, len(pixels), BATCH):
            count += len(model(pixels[start : start + BATCH]))
    return count, time.perf_counter() - started


def run_decode(data: Path) -> tuple[int, float]:
    from tlx.embed.images import decode_image

    files = files_of(data)
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda f: decode_image(Path(f).read_bytes(), 224), files):
            pass
    return len(files), time.perf_counter() - started


def run_recipe(data: Path) -> tuple[int, float]:
    from tlx.lazy_imports import import_keras

    keras = import_keras()
    from tlx.embed.backbones.registry import get_backbone
    from tlx.embed.backbones.tap import feature_model
    from tlx.embed.pipeline import make_spec

    backbone = get_backbone(BACKBONE)
    model = feature_model(backbone, make_spec(backbone))
    folders = [data / s for s in ("train", "validation") if (data / s).is_dir()] or [data]
    count, started = 0, time.perf_counter()
    for folder in folders:
        images = keras.utils.image_dataset_from_directory(
            folder, image_size=(224, 224), batch_size=32, shuffle=False, verbose=False
        )
        count += len(model.predict(images, verbose=0))
    return count, time.perf_counter() - started


VARIANTS: dict[str, Callable[[Path], tuple[int, float]]] = {
    "tlx openvino float32": lambda data: run_tlx(data, "openvino", "float32"),
    "tlx openvino bfloat16": lambda data: run_tlx(data, "openvino", "bfloat16"),
    "tlx tensorflow float32": lambda data: run_tlx(data, "tensorflow", "float32"),
    "forward openvino float32": lambda data: run_forward(data, "openvino", "float32"),
    "forward openvino bfloat16": lambda data: run_forward(data, "openvino", "bfloat16"),
    "forward tensorflow float32": lambda data: run_forward(data, "tensorflow", "float32"),
    "decode": run_decode,
    "recipe": run_recipe,
}


def child(variant: str, data: Path) -> None:
    from tlx import TlxError

    try:
        images, seconds = VARIANTS[variant](data)
    except TlxError as error:  # a processor without bfloat16
        print(json.dumps({"error": str(error)}))
        return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rate": images / seconds, "peak": peak}))


def measure(variant: str, data: Path) -> dict:
    started = time.perf_counter()
    command = [sys.executable, __file__, str(data), "--child", variant]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**json.loads(done.stdout), "process": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.data)
        return
    measure("forward openvino float32", args.data)  # converts the model, fills the file cache
    results: dict[str, list[dict]] = {name: [] for name in VARIANTS}
    for _ in range(args.repeats):
        for name in VARIANTS:
            if results[name] is not None:
                results[name].append(measure(name, args.data))
    report(results)


def report(results: dict[str, list[dict]]) -> None:
    def median(name: str, key: str) -> float:
        return statistics.median(run[key] for run in results[name])

    recipe = median("recipe", "rate")
    print(f"{'variant':28}{'images/s':>9}{'x recipe':>9}{'process s':>11}{'peak MB':>9}")
    for name, runs in results.items():
        if "error" in runs[0]:
            print(f"{name:28}{runs[0]['error'].splitlines()[0]}")
            continue
        rate = median(name, "rate")
        print(
            f"{name:28}{rate:9.0f}{rate / recipe:9.2f}{median(name, 'process'):11.1f}"
            f"{median(name, 'peak'):9.0f}"
        )
    for precision in ("float32", "bfloat16"):
        forward = f"forward openvino {precision}"
        if "error" in results[forward][0]:
            continue
        both = 1 / (1 / median("decode", "rate") + 1 / median(forward, "rate"))
        share = median(f"tlx openvino {precision}", "rate") / both
        print(f"{'both ceilings, ' + precision:28}{both:9.0f}   tlx reaches {share:.2f} of it")


if __name__ == "__main__":
    main()
