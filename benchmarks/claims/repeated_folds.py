"""Repeated folds: less luck of the dealing, and intervals that still hold the truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.scoring.metrics import image_loss

from .common import Row, Setting, draw_rows, part

IMAGES = 300
REPEATS = 5


def measure(setting: Setting) -> Iterator[Row]:
    """Score lda by repeated folds, ask all other images, and score it again with another seed."""
    for pool in setting.pools:
        hits, times = np.zeros(2, int), setting.times(20, least=6)
        alone, luck = [], []
        for _ in range(times):
            rows, others = draw_rows(pool.table, IMAGES, setting.rng)
            table = part(pool.table, rows)
            one, two = (
                evaluate_head(
                    table, "lda", grid={"shrinkage": [0.5]}, seed=seed, repeats_cv=REPEATS
                )
                for seed in (0, 1)
            )
            p, y = one.head.predict_proba(pool.table.X[others]), pool.table.y[others]
            loss = image_loss(p[np.arange(len(y)), y]).mean()
            truth = {"accuracy": (p.argmax(axis=1) == y).mean(), "log_loss": loss}
            for i, (name, value) in enumerate(truth.items()):
                hits[i] += one.metrics[name].low <= value <= one.metrics[name].high
            assert one.draws is not None
            right = (one.draws.argmax(axis=2) == table.y).mean(axis=1)
            alone.append(right.var(ddof=1))
            luck.append((one.metrics["accuracy"].value - two.metrics["accuracy"].value) ** 2 / 2)
        for name, found in zip(("accuracy", "log loss"), hits, strict=True):
            claim = f"interval of the {name}, {pool.name}, {REPEATS} repeats of folds"
            yield Row.rate(claim, int(found), times, at_least=0.92)
        yield Row.value(
            f"fold luck of {REPEATS} repeats / of one, {pool.name}",
            float(np.sqrt(np.mean(luck) / max(np.mean(alone), 1e-12))),
            at_most=0.7,
            shown="{:.2f}",
        )
