"""What a data set of a million images costs: seconds and memory of the commands without a network.

    python benchmarks/scale.py [--images 1000000] [--dim 1280] [--folder DIR] [--only embed]

The data sets are made up (see `million.made_up`), of N images, 3/10 and 1/10 of them, in DIR: what
is there is used again. Each command runs in a process of its own. `--only generate` makes one
workspace DIR with its images beside it, and measures nothing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from million.measured import Cost, cost_of, seconds_to_hash

SHARES = (0.1, 0.3, 1.0)
TOPICS = ("embed", "info", "verify", "compact", "merge", "runs", "prune", "parquet")
START = 1.0  # seconds until a command begins
FLAT_MB = 100  # what a command may take more for N images than for N / 10


def command_of(topic: str, place: Path, scratch: Path) -> list[object]:
    """Return the arguments of `tlx` for a topic."""
    where = ["--workspace", place]
    return {
        "embed": ["embed", place.with_name(f"{place.name}-images"), *where],
        "merge": ["cache", "merge", place, "--workspace", scratch / "merged"],
        "runs": ["runs", *where],
        "prune": ["cache", "prune", "--dry-run", *where],
        "parquet": ["cache", "export", scratch / "all.parquet", "--format", "parquet", *where],
    }.get(topic) or ["cache", topic, *where]


def measure(topic: str, places: dict[int, Path], scratch: Path) -> list[tuple[str, str, str, bool]]:
    """Return the lines of one topic: what is claimed, wanted and measured, and whether it holds."""
    costs: dict[int, Cost] = {}
    for n, place in places.items():
        scratch.mkdir(exist_ok=True)
        costs[n] = cost_of(*command_of(topic, place, scratch))
        shutil.rmtree(scratch)
    small, *_, large = costs.values()
    n, place = list(places.items())[-1]
    peaks = " ".join(f"{cost.megabytes:.0f}" for cost in costs.values())
    seconds = " ".join(f"{cost.seconds:.1f}" for cost in costs.values())
    lines = []
    if topic == "embed":
        second, memory = 25 * max(0.1, n / 1e6), 1500
        lines.append((topic, f"under {second:.0f} s", f"{seconds} s", large.seconds < second))
        lines.append((topic, f"under {memory} MB", f"{peaks} MB", large.megabytes < memory))
        a_row = (large.seconds - small.seconds) / (n - min(places))
        lines.append((topic, "told", f"{large.seconds + a_row * (1e7 - n):.0f} s for 10 M", True))
        return lines
    if topic in ("info", "verify", "compact", "merge"):
        flat = large.megabytes - small.megabytes < FLAT_MB
        lines.append((topic, "flat memory", f"{peaks} MB", flat))
    else:
        lines.append((topic, "told", f"{peaks} MB", True))
    if topic in ("verify", "compact", "merge"):
        alone = seconds_to_hash(place)
        lines.append((topic, f"under {2 * alone:.1f} s", f"{seconds} s", large.seconds < 2 * alone))
    else:
        lines.append((topic, "told", f"{seconds} s", True))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--folder", type=Path, help="By default one that is removed afterwards.")
    parser.add_argument("--only", nargs="+", choices=["generate", *TOPICS], default=TOPICS)
    options = parser.parse_args()
    if "generate" in options.only:
        from million.made_up import make  # here: a child's peak begins with that of its parent

        make(options.folder.absolute(), options.images, options.dim)
        return 0
    with tempfile.TemporaryDirectory(prefix="scale-", dir=Path.cwd()) as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        places = {int(options.images * share): folder for share in SHARES}
        places = {n: folder / f"of-{n}" for n in places}
        for n, place in places.items():
            size = ["--images", str(n), "--dim", str(options.dim), "--folder", str(place)]
            subprocess.run([sys.executable, __file__, "--only", "generate", *size], check=True)
        print("of", ", ".join(f"{n:,}" for n in places), f"images, {options.dim} numbers each")
        print(f"{'command':9} {'wanted':18} {'measured':28} holds")
        held = True
        for topic in options.only:
            for claim, wanted, measured, holds in measure(topic, places, Path(temporary) / "aside"):
                print(f"{claim:9} {wanted:18} {measured:28} {'yes' if holds else 'NO'}", flush=True)
                held &= holds
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())
