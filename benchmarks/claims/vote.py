"""The mean of logreg and lda is as good as the better of the two, within 0.2 points."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.scoring.metrics import image_loss

from .common import Pool, Row, Setting, draw_rows, part

MODELS = ("logreg", "lda", "vote")
SIZE = 200


def worth(pool: Pool, rows: np.ndarray, others: np.ndarray) -> list[tuple[float, float]]:
    """Return accuracy and log loss on all other images of each head, fitted on `rows`."""
    table, X, y = part(pool.table, rows), pool.table.X[others], pool.table.y[others]
    found = []
    for model in MODELS:
        p = evaluate_head(table, model).head.predict_proba(X)
        loss = image_loss(p[np.arange(len(y)), y]).mean()
        found.append((float((p.argmax(axis=1) == y).mean()), float(loss)))
    return found


def measure(setting: Setting) -> Iterator[Row]:
    """Compare all three on hold-outs; the better one is the better one on average.

    What so few draws leave to chance, two standard errors of the paired difference, is allowed for.
    """
    for pool in setting.pools:
        drawn = np.array(
            [
                worth(pool, *draw_rows(pool.table, SIZE, setting.rng))
                for _ in range(setting.times(8, least=3))
            ]
        )
        accuracy, loss = np.moveaxis(drawn, 2, 0)  # (draws, models) each
        below = 100 * (accuracy[:, accuracy[:, :2].mean(axis=0).argmax()] - accuracy[:, 2])
        chance = 2 * below.std(ddof=1) / len(below) ** 0.5
        what = f"{pool.name}, {SIZE} images"
        yield Row.value(
            f"points that vote is below the better of two, {what}",
            float(below.mean()),
            at_most=round(0.2 + float(chance), 2),
            shown="{:.2f}",
        )
        yield Row.value(
            f"log loss, vote / the better of two, {what}",
            float(loss[:, 2].mean() / loss[:, :2].mean(axis=0).min()),
            at_most=1.05,
        )
