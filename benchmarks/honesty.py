"""Whether the numbers that tlx tells are true, where the truth is known.

    python benchmarks/honesty.py photos/
    python benchmarks/honesty.py --only intervals --effort 0.2

Each row draws many data sets from a population, lets tlx say what it says, and counts how often it
was right. Populations are generated features, the handwritten digits of ``tlx demo``, and the
folders named (embedded once into --workspace). A rate that is within two standard errors of what is
wanted holds. Exits with 1 if a row does not hold.

A topic is a file in claims/.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import claims
import numpy as np
from claims.common import Measure, Pool, Row, Setting, generated, part

TOPICS = sorted(info.name for info in pkgutil.iter_modules(claims.__path__))
TOPICS.remove("common")


def measure_of(topic: str) -> Measure:
    return importlib.import_module(f"claims.{topic}").measure


def pools(folders: list[str], workspace: Path, seed: int) -> list[Pool]:
    """Return the populations, embedding what is not yet in the workspace."""
    import tlx
    from tlx.demo import write_digits

    rng = np.random.default_rng(seed)
    found = [Pool("generated", generated(rng))]
    digits = workspace / "digits"
    write_digits(digits)
    for name, folder in [("digits", digits), *((Path(f).name, Path(f)) for f in folders)]:
        embedded = tlx.embed_images(folder, workspace=workspace, name=name)
        table = tlx.load_features(embedded.dataset, workspace=workspace)
        distinct = np.unique(table.groups, return_index=True)[1]  # copies once
        found.append(Pool(name, part(table, distinct)))
    return found


def rows_of(topic: str, setting: Setting) -> Iterator[Row]:
    yield from measure_of(topic)(setting)


def line(row: Row) -> str:
    verdict = "holds" if row.holds else "FAILS"
    return f"{row.claim:<62} {row.wanted:>9}  {row.measured:<16} {verdict}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="*", help="folders with one folder a class")
    parser.add_argument(
        "--only", action="append", choices=TOPICS, help="one topic; may be repeated"
    )
    parser.add_argument("--effort", type=float, default=1.0, help="share of the draws")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, default=Path("build/honesty"))
    options = parser.parse_args()
    populations = pools(options.data, options.workspace, options.seed)
    print(f"{'claim':<62} {'wanted':>9}  {'measured':<16} verdict")
    failed = 0
    for topic in options.only or TOPICS:
        started = time.perf_counter()
        # A stream of its own, so that a topic says the same alone and among others.
        rng = np.random.default_rng([options.seed, zlib.crc32(topic.encode())])
        for row in rows_of(topic, Setting(populations, rng, options.effort)):
            print(line(row), flush=True)
            failed += not row.holds
        print(f"  {topic}: {time.perf_counter() - started:.0f} s", flush=True)
    print(f"{failed} rows fail" if failed else "every row holds")
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
