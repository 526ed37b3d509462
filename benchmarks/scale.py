"""What a data set of a million images costs: seconds and memory of the commands without a network.

    python benchmarks/scale.py [--images 1000000] [--dim 1280] [--folder DIR] [--only generate]

The data set is made up (see `million.made_up`), once for each folder: with --folder it stays there,
and is used again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from million.made_up import make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--folder", type=Path, help="Workspace to make; the images lie beside it.")
    parser.add_argument("--only", nargs="+", choices=["generate"], default=["generate"])
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="scale-", dir=Path.cwd())) / "tlx"
    started = time.perf_counter()
    make(folder.absolute(), options.images, options.dim)
    print(f"{options.images:,} images in {time.perf_counter() - started:.0f} s: {folder}")


if __name__ == "__main__":
    main()
