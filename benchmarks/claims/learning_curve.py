"""What twice the images bring is what the learning curve says they do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlx.classify.curve import curve_of
from tlx.classify.heads.registry import fit_grid
from tlx.classify.table import Features

from .common import Row, Setting, draw_rows, part

GRID = {"shrinkage": [0.5]}
LEARNED = 160  # images


def measure(setting: Setting) -> Iterator[Row]:
    """Draw 200 images, ask what twice those learned from would bring, and draw twice as many."""
    for pool in setting.pools:
        if len(pool.table.class_names) > 5:
            continue  # too few images a class for a curve of so few
        now, then = (mean_accuracy(pool.table, n, setting) for n in (LEARNED, 2 * LEARNED))
        for split in (False, True):
            gains = levels = 0
            times = setting.times(25)
            for _ in range(times):
                doubled = forecast(pool.table, split, setting.rng)
                gains += doubled.gain.low <= then - now <= doubled.gain.high
                levels += doubled.accuracy.low <= then <= doubled.accuracy.high
            where = f"{pool.name}, 200 images, {'a fifth' if split else '5 folds'}"
            yield Row.rate(f"gain of twice the images, {where}", gains, times, at_least=0.92)
            yield Row.rate(f"accuracy at twice the images, {where}", levels, times, at_least=0.92)


def forecast(table: Features, split: bool, rng: np.random.Generator):
    rows, _ = draw_rows(table, 200, rng)
    splits = np.where(np.isin(rows, draw_rows_of(table, rows, rng)), "train", "validation")
    drawn = part(table, rows, splits if split else "")
    doubled = curve_of(drawn, "lda", grid=GRID, repeats=5).doubled
    assert doubled is not None
    return doubled


def draw_rows_of(table: Features, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 160 of the rows, every class in its share."""
    return rows[draw_rows(part(table, rows), LEARNED, rng)[0]]


def mean_accuracy(table: Features, n: int, setting: Setting) -> float:
    """Return the mean accuracy, on all other images, of heads that learned from n."""
    accuracies = []
    for _ in range(setting.times(24)):
        rows, others = draw_rows(table, n, setting.rng)
        (point,) = fit_grid("lda", table.X[rows], table.y[rows], np.ones((1, n)), GRID)
        p = point.head(0).predict_proba(table.X[others])
        accuracies.append(float((p.argmax(axis=1) == table.y[others]).mean()))
    return float(np.mean(accuracies))
