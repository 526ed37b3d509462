"""Of the images that `predict --reject` accepts, no more are wrong than it promises."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlx.classify.heads.registry import fit_grid
from tlx.classify.scoring.calibrate import choose_threshold
from tlx.classify.table import Features
from tlx.errors import FitError

from .common import Row, Setting

CASES = [(400, 1, 0.01), (400, 1, 0.05), (1000, 1, 0.02), (600, 3, 0.05)]  # images, a group, error


def measure(setting: Setting) -> Iterator[Row]:
    """Draw scored images from those of a population, and ask all of it what is accepted wrongly."""
    for pool in setting.pools:
        confidence, wrong = scored(pool.table, setting.rng)
        for n, size, error in CASES:
            broken, coverage, times = 0, [], setting.times(200)
            for _ in range(times):
                first = setting.rng.integers(0, len(wrong), n // size)
                # Images of a group are near each other in confidence, as photos of one thing are.
                near = setting.rng.integers(-2, 3, (len(first), size))
                near[:, 0] = 0
                drawn = np.clip(first[:, None] + near, 0, len(wrong) - 1).ravel()
                groups = np.repeat(np.arange(len(first)), size)
                p = np.stack([confidence[drawn], 1 - confidence[drawn]], axis=1)
                try:
                    found = choose_threshold(wrong[drawn], p, groups, error)
                except FitError:
                    coverage.append(0.0)
                    continue
                coverage.append(found.coverage)
                broken += bool(wrong[confidence >= found.threshold].mean() > error)
            claim = f"--reject {error:g}, {pool.name}, {n} images, groups of {size}"
            yield Row.rate(f"{claim}: broken", broken, times, at_most=0.05)
            if (pool.name, n, error) == ("cats-vs-dogs", 400, 0.01):
                mean = float(np.mean(coverage))
                yield Row.value(f"{claim}: accepted", mean, at_least=0.8, shown="{:.2f}")


def scored(table: Features, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return confidences, falling, and mistakes (N,) of lda on rows that it has not seen."""
    fold = rng.permutation(len(table)) % 5
    weights = np.stack([(fold != k).astype(float) for k in range(5)])
    (point,) = fit_grid("lda", table.X, table.y, weights, {"shrinkage": [0.5]})
    confidence, wrong = np.empty(len(table)), np.empty(len(table), int)
    for k in range(5):
        rows = np.flatnonzero(fold == k)
        p = point.proba(k, rows)
        confidence[rows], wrong[rows] = p.max(axis=1), p.argmax(axis=1) != table.y[rows]
    order = np.argsort(-confidence, kind="stable")
    confidence = 0.5 + confidence[order] / 2  # of two classes: right and wrong
    return confidence - np.arange(len(order)) * 1e-9, wrong[order]
