"""Images a second of clusters against one process, and of many workers against one.

``python benchmarks/cluster.py PHOTOS [--images 5000] [--ray]``: the photos are repeated, each time
with other bytes at their end, so that none is a copy. Needs the extra ``dask``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from tlx.embed.cluster import map_cluster

TLX = [sys.executable, "-m", "tlx"]


def repeat_photos(source: Path, folder: Path, count: int) -> None:
    """Fill a folder with so many photos; bytes after its end change no JPEG."""
    photos = sorted(path for path in source.rglob("*.jpg") if path.is_file())
    for number, photo in zip(range(count), itertools.cycle(photos), strict=False):
        target = folder / photo.parent.name / f"{number:06}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(photo.read_bytes() + number.to_bytes(4, "big"))


@contextmanager
def dask(folder: Path, workers: int) -> Iterator[str]:
    """Give the address of a scheduler with so many workers of one thread."""
    file = folder / "scheduler.json"
    command = [sys.executable, "-m"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    options = ["--no-dashboard", "--scheduler-file", str(file)]
    scheduler = [*command, "distributed.cli.dask_scheduler", "--port", "0", *options]
    started = [subprocess.Popen(scheduler, **quiet)]
    while not file.exists():
        assert started[0].poll() is None, "no scheduler of Dask can be started"
        time.sleep(0.1)
    options += ["--nworkers", str(workers), "--nthreads", "1", "--local-directory", str(folder)]
    started += [subprocess.Popen([*command, "distributed.cli.dask_worker", *options], **quiet)]
    time.sleep(5)
    try:
        yield "dask://" + json.loads(file.read_text())["address"].removeprefix("tcp://")
    finally:
        for process in reversed(started):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def rate_of(data: Path, folder: Path, *options: str) -> float:
    """Return the images a second of a pass by the real command."""
    workspace = folder / "workspace"
    command = [*TLX, "embed", str(data), "--workspace", str(workspace), "--json", *options]
    found = subprocess.run(command, capture_output=True, check=True, text=True)
    result = json.loads(found.stdout)
    assert result["embedded"] == result["images"], result["unreadable"][:1]
    shutil.rmtree(workspace)
    return result["images_per_second"]


def doze(seconds: float, item: int) -> np.ndarray:
    """Take as long as a part of 64 images, and return as much."""
    time.sleep(seconds)
    return np.full((64, 1280), item, np.float32)


def parts_a_second(workers: int, seconds: float, parts: int) -> float:
    """Return how many parts a cluster of processes that sleep does a second, once it has begun."""
    times = []
    for _ in map_cluster(f"processes:{workers}", doze, seconds, range(parts + workers)):
        times.append(time.monotonic())
    times = times[workers - 1 :]  # the first ones start the processes
    return (len(times) - 1) / (times[-1] - times[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    one = parts_a_second(1, 2.0, 4)
    many = parts_a_second(32, 2.0, 32 * 4)
    print(f"32 workers that sleep: {many / (32 * one):.3f} of 32 times one", flush=True)
    with tempfile.TemporaryDirectory() as name, dask(Path(name), 2) as scheduler:
        folder = Path(name)
        repeat_photos(given.photos, folder / "photos", given.images)
        kinds = {"one process": (), "processes:2": ("--cluster", "processes:2")}
        kinds["dask, 2 workers"] = ("--cluster", scheduler)
        if given.ray:
            kinds["ray, 2 workers"] = ("--cluster", "ray://")
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(given.rounds):
            for kind, options in kinds.items():
                rates[kind].append(rate_of(folder / "photos", folder, *options))
                ratio = rates[kind][-1] / rates["one process"][-1]
                load = os.getloadavg()[0]
                print(
                    f"{kind}: {rates[kind][-1]:.1f} images/s, {ratio:.3f} (load {load:.1f})",
                    flush=True,
                )
    for kind, found in rates.items():
        ratio = np.median(found) / np.median(rates["one process"])
        print(f"{kind}: {ratio:.3f} of one process, median of {given.rounds}")


if __name__ == "__main__":
    main()
