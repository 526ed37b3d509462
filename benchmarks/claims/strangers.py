"""`predict --reject` takes no more ordinary images for strangers than it says, and errs no more."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlx.classify.scoring.calibrate import choose_threshold
from tlx.classify.strangers import Neighbours, find_neighbours
from tlx.errors import FitError

from .common import Row, Setting, draw_rows
from .reject import scored

LEARNED = 200
CASES = [(60, 0.1), (400, 0.05), (1000, 0.02)]  # scored images, error that is promised


def measure(setting: Setting) -> Iterator[Row]:
    for pool in setting.pools:
        table = pool.table
        for n, _ in CASES[:2]:
            taken, times = [], setting.times(100)
            for _ in range(times):
                rows, others = draw_rows(table, LEARNED + n, setting.rng)
                learned, held = rows[:LEARNED], rows[LEARNED:]
                groups = np.arange(len(table))
                found = find_neighbours(table.X, table.y, groups, learned, held)
                p = found.p_values(table.X[others[:1000]])
                taken.append(float((p <= found.level).mean()))
            slack = 2 * float(np.std(taken)) / times**0.5
            claim = f"ordinary images taken for strangers, {pool.name}, {n} scored"
            yield Row.value(claim, float(np.mean(taken)), at_most=max(0.01, 1 / (n + 1)) + slack)
        yield from promises(setting, pool.name, *scored(table, setting.rng))


def promises(
    setting: Setting, name: str, confidence: np.ndarray, wrong: np.ndarray
) -> Iterator[Row]:
    """Count broken promises where the images that lie far are the right ones, the worst case."""
    far = setting.rng.random(len(wrong)) + 0.3 * (1 - wrong)
    for n, error in CASES:
        broken, times = 0, setting.times(200)
        for _ in range(times):
            drawn = setting.rng.integers(0, len(wrong), n)
            kept = Neighbours(np.zeros((1, 1), np.float16), far[drawn].astype(np.float32))
            known = ~kept.are_strangers
            p = np.stack([confidence[drawn], 1 - confidence[drawn]], axis=1)[known]
            try:
                found = choose_threshold(wrong[drawn][known], p, np.arange(len(p)), error)
            except FitError:
                continue
            accepted = (confidence >= found.threshold) & (far <= kept.distances[known].max())
            broken += bool(wrong[accepted].mean() > error)
        claim = f"--reject {error:g} without strangers, {name}, {n} images: broken"
        yield Row.rate(claim, broken, times, at_most=0.05)
