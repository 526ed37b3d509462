"""How many planted faults tlx audit finds, and how much of what it finds was planted.

    python benchmarks/audit.py photos/
    python benchmarks/audit.py photos/ --only odd

Each row plants one kind of fault in copies of the photos and looks for it; what was wrong with the
photos as they are counts against the precision. Exits with 1 if less is found than is wanted.

A topic is a file in planted/.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import tempfile
import time
from functools import partial
from pathlib import Path

import planted
from planted.common import Measure, Row

TOPICS = sorted(info.name for info in pkgutil.iter_modules(planted.__path__))
TOPICS.remove("common")


def measure_of(topic: str, others: Path | None) -> Measure:
    measure = importlib.import_module(f"planted.{topic}").measure
    return partial(measure, others=others) if topic == "stranger" else measure


def show(row: Row) -> str:
    found = f"{row.found:.3f}"
    precision = "  -  " if row.precision != row.precision else f"{row.precision:.3f}"
    wanted = f"{row.wanted:.2f}" if row.wanted else "-"
    if row.wanted_precision:
        wanted += f" at {row.wanted_precision:.2f}"
    verdict = "holds" if row.holds else "FAILS"
    return f"{row.fault:34} {row.planted:7,} {found:>6} {precision:>9}  {wanted:12} {verdict}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with one folder a class")
    parser.add_argument("--only", nargs="+", choices=TOPICS, default=TOPICS, metavar="TOPIC")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--strangers", type=Path, metavar="FOLDER", help="photos of other things, to be planted"
    )
    asked = parser.parse_args()
    print(f"{'fault':34} planted  found precision  wanted       verdict")
    failed = 0
    for topic in asked.only:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            for row in measure_of(topic, asked.strangers)(
                asked.data.resolve(), Path(folder), asked.seed
            ):
                print(show(row), flush=True)
                failed += not row.holds
        print(f"{'':34} {time.perf_counter() - started:.0f} s")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
