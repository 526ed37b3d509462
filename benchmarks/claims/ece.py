"""The calibration error is nearly unbiased, and its 95% interval holds the truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlx.classify.scoring.calibrate import apply_temperature
from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.scoring.ece import calibration_error

from .common import Row, Setting, draw_rows, part

SIZES = (50, 200, 1000)
LDA = {"shrinkage": [0.5]}


def generated(
    sharpness: float, rng: np.random.Generator, n: int = 100_000
) -> tuple[np.ndarray, np.ndarray]:
    """Return classes and probabilities that are too sure (above 1) or not sure enough (below)."""
    logits = rng.standard_normal((n, 3)) * 1.5
    p = apply_temperature(np.exp(logits), 1.0)
    y = (p.cumsum(axis=1) < rng.random(n)[:, None]).sum(axis=1).clip(max=2)
    return y, apply_temperature(p, 1 / sharpness)


def measure(setting: Setting) -> Iterator[Row]:
    rng = setting.rng
    populations = {f"sharpened by {s:g}": generated(s, rng) for s in (0.6, 1.0, 2.0)}
    for pool in setting.pools:
        rows, others = draw_rows(pool.table, 100, rng)
        head = evaluate_head(part(pool.table, rows), "lda", n_folds=2, grid=LDA).head
        populations[pool.name] = pool.table.y[others], head.predict_proba(pool.table.X[others])
    for name, (y, p) in populations.items():
        truth = calibration_error(y, p).value
        for m in SIZES:
            times = setting.times(150, least=25)
            drawn = (rng.integers(0, len(y), m) for _ in range(times))
            found = [calibration_error(y[rows], p[rows]) for rows in drawn]
            hits = sum(e.low <= truth <= e.high for e in found)
            yield Row.rate(f"ece, {name}, {m} held out", hits, times, at_least=0.9)
            bias = float(np.mean([e.value for e in found])) - truth
            # The fewer images, the more their chance looks like a fault of the classifier.
            limit = 0.05 if m < 100 else 0.02
            yield Row.value(f"bias of ece, {name}, {m} held out", abs(bias), at_most=limit)
    for pool in setting.pools:
        hits, times = 0, setting.times(40, least=10)
        for _ in range(times):
            rows, others = draw_rows(pool.table, 100, rng)
            found = evaluate_head(part(pool.table, rows), "lda", grid=LDA)
            p = found.head.predict_proba(pool.table.X[others])
            truth = calibration_error(pool.table.y[others], p).value
            hits += found.metrics["ece"].low <= truth <= found.metrics["ece"].high
        yield Row.rate(f"ece, {pool.name}, 100 in 5 folds", hits, times, at_least=0.9)
