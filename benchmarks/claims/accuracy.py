"""The 95% interval of the accuracy holds the accuracy on all other images."""

from __future__ import annotations

from collections.abc import Iterator

from tlx.classify.scoring.crossval import evaluate_head

from .common import Row, Setting, draw_rows, part


def measure(setting: Setting) -> Iterator[Row]:
    """Draw images, score lda in 5 folds, and ask all others how good it is."""
    for pool in setting.pools:
        for n in (60, 200):
            hits, times = 0, setting.times(100)
            for _ in range(times):
                rows, others = draw_rows(pool.table, n, setting.rng)
                found = evaluate_head(part(pool.table, rows), "lda", grid={"shrinkage": [0.5]})
                predicted = found.head.predict_proba(pool.table.X[others]).argmax(axis=1)
                truth = float((predicted == pool.table.y[others]).mean())
                metric = found.metrics["accuracy"]
                hits += metric.low <= truth <= metric.high
            claim = f"interval of the accuracy, {pool.name}, {n} images in 5 folds"
            yield Row.rate(claim, hits, times, at_least=0.92)
