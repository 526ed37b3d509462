"""What does it cost that nothing is ever lost? Writing features with and without the care for it.

    python benchmarks/durability.py [--images 2048] [--dim 1280] [--repeats 5] [--folder DIR]

Writes the same rows with `FeatureStore.writer` (seals of 512 rows, checksums, fsync, rename, merge
at the end) and, as the least that could be done, with one plain HDF5 file that is appended to and
never flushed. The rows come at the rate of an engine in a real pass only in the comparison: the
seconds that writing takes are set against those that computing the features takes, 134 images/s for
the default backbone in float32 on two cores. The two ways alternate; medians are printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from tlx.cache.identity import canonical_json
from tlx.cache.store import FeatureStore

ENGINE = 134.0  # images a second


def durable(folder: Path, digests: list[bytes], features: np.ndarray) -> None:
    """Write as `tlx embed` does."""
    with FeatureStore(folder, canonical_json({"dtype": "float32"})).writer() as writer:
        for digest, feature in zip(digests, features, strict=True):
            writer.add(digest, feature)


def without_fsync(folder: Path, digests: list[bytes], features: np.ndarray) -> None:
    """Write as `tlx embed` does, but wait for no disk."""
    with no_fsync():
        durable(folder, digests, features)


def careless(folder: Path, digests: list[bytes], features: np.ndarray) -> None:
    """Append to one open HDF5 file, in batches, without checksum, flush, rename or merge."""
    with h5py.File(folder / "all.h5", "w") as file:
        n, dim = features.shape
        ids = file.create_dataset(
            "digest", (0, 32), np.uint8, maxshape=(None, 32), chunks=(512, 32)
        )
        rows = file.create_dataset(
            "features", (0, dim), np.float32, maxshape=(None, dim), chunks=(51, dim)
        )
        for start in range(0, n, 512):
            stop = min(start + 512, n)
            ids.resize(stop, 0)
            rows.resize(stop, 0)
            ids[start:stop] = np.frombuffer(b"".join(digests[start:stop]), np.uint8).reshape(-1, 32)
            rows[start:stop] = features[start:stop]


@contextmanager
def no_fsync():
    real = os.fsync
    os.fsync = lambda descriptor: None
    try:
        yield
    finally:
        os.fsync = real


def timed(write, digests, features, parent: Path) -> tuple[float, float]:
    """Return wall and processor seconds."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        os.sync()  # what others wrote is not ours to wait for
        wall, processor = time.perf_counter(), time.process_time()
        write(folder, digests, features)
        return time.perf_counter() - wall, time.process_time() - processor
    finally:
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="On the disk to measure.")
    options = parser.parse_args()
    n = options.images
    digests = [hashlib.sha256(b"%d" % i).digest() for i in range(n)]
    features = np.random.default_rng(0).standard_normal((n, options.dim)).astype(np.float32)
    ways = {"durable": durable, "no fsync": without_fsync, "careless": careless}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, write in ways.items():
            taken[name].append(timed(write, digests, features, options.folder))
    engine = 1000 / ENGINE
    print(f"{n} images of {options.dim} float32, median of {options.repeats}, in {options.folder}")
    print("             seconds a 1000 images              share of a pass at 134 images/s")
    print("way          wall (range)             processor      wall   processor")
    for name, pairs in taken.items():
        wall, processor = (np.array(column) * 1000 / n for column in zip(*pairs, strict=True))
        print(
            f"{name:10}  {np.median(wall):6.3f} ({wall.min():.3f} to {wall.max():.3f})   "
            f"{np.median(processor):8.3f}   {np.median(wall) / engine:10.2%}   "
            f"{np.median(processor) / engine:9.2%}"
        )
    pairs = zip(taken["durable"], taken["careless"], strict=True)
    extra = statistics.median(a[0] - b[0] for a, b in pairs) * 1000 / n
    print(f"nothing is lost for {extra:.3f} s a 1000 images: {extra / engine:.2%} of a pass")


if __name__ == "__main__":
    main()
