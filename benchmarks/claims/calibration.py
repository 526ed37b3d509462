"""Calibration makes log loss no worse, however few validation images there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlx.classify.scoring.calibrate import apply_temperature
from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.scoring.metrics import image_loss

from .common import Pool, Row, Setting, draw_rows, part

HEADS = ("logreg", "lda", "centroid", "knn")
TRAIN = 200
SIZES = (20, 50, 100, 399)


def losses(pool: Pool, model: str, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the log loss on all other images: calibrated with n validation images, and raw."""
    rows, others = draw_rows(pool.table, TRAIN + n, rng)
    split = ["train"] * TRAIN + ["validation"] * n
    found = evaluate_head(part(pool.table, rows, split), model)
    calibrated = found.head.predict_proba(pool.table.X[others])
    raw = apply_temperature(calibrated, 1 / found.temperature)
    own = np.arange(len(others)), pool.table.y[others]
    return float(image_loss(calibrated[own]).mean()), float(image_loss(raw[own]).mean())


def measure(setting: Setting) -> Iterator[Row]:
    """Compare both on hold-outs; a ratio of means for each head, then the mean over heads."""
    for pool in setting.pools:
        for n in SIZES:
            drawn = [
                [losses(pool, model, n, setting.rng) for model in HEADS]
                for _ in range(setting.times(6, least=2))
            ]
            calibrated, raw = np.mean(drawn, axis=0).T
            yield Row.value(
                f"log loss, calibrated / raw, {pool.name}, {n} validation images",
                float(np.mean(calibrated / raw)),
                at_most=1.0,
            )
