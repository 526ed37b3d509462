"""A choice among layers by inner folds takes no noise, and leaves the figures honest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.table import Features

from .common import Row, Setting, components, draw_rows, part

SIZE = 200
# How far apart an earlier layer has the classes, in spreads: of little help it is taken now and
# then, and this is where a choice could flatter.
LAYERS = {"noise": 0.0, "of little help": 0.8, "of much help": 2.0}
WIDTH = 16
GRID = {"shrinkage": [0.1, 0.5]}
# Errors of the last layer alone from which help can be told. Where it is nearly always right, as
# with cats and dogs, there is little loss to take away, and 200 images seldom tell it from chance.
ROOM = 0.05


def measure(setting: Setting) -> Iterator[Row]:
    """Draw images with two layers, let lda choose, and ask all others how good it is."""
    for pool in setting.pools:
        last = components(pool.table).astype(np.float32)
        errors = np.mean([_errors(pool.table, last, setting.rng) for _ in range(10)])
        for name, apart in LAYERS.items():
            low = _layer(pool.table.y, apart, setting.rng)
            X = [last, low, np.hstack([last, low])]
            times, covered, other = setting.times(50), 0, 0
            for _ in range(times):
                rows, rest = draw_rows(pool.table, SIZE, setting.rng)
                drawn = part(pool.table, rows)
                tables = [_with(drawn, f, X[f][rows]) for f in range(len(X))]
                found = evaluate_head(tables[0], "lda", others=tables[1:], grid=GRID)
                taken = [table.sources for table in tables].index(found.sources)
                right = found.head.predict_proba(X[taken][rest]).argmax(axis=1)
                metric = found.metrics["accuracy"]
                held = metric.low <= (right == pool.table.y[rest]).mean() <= metric.high
                covered += bool(held)
                other += taken > 0
            what = f"a layer {name}, {pool.name}"
            yield Row.rate(f"interval of the accuracy, {what}", covered, times, at_least=0.92)
            if name == "noise":
                yield Row.rate(f"{what}, is chosen", other, times, at_most=0.05)
            if name == "of much help" and errors > ROOM:
                yield Row.rate(f"{what}, is chosen", other, times, at_least=0.9)


def _errors(table: Features, last: np.ndarray, rng: np.random.Generator) -> float:
    rows, rest = draw_rows(table, SIZE, rng)
    found = evaluate_head(_with(part(table, rows), 0, last[rows]), "lda", grid=GRID)
    return float((found.head.predict_proba(last[rest]).argmax(axis=1) != table.y[rest]).mean())


def _layer(y: np.ndarray, apart: float, rng: np.random.Generator) -> np.ndarray:
    centres = rng.standard_normal((y.max() + 1, WIDTH)) / WIDTH**0.5
    return (apart * centres[y] * 2**0.5 + rng.standard_normal((len(y), WIDTH))).astype(np.float32)


def _with(table: Features, number: int, X: np.ndarray) -> Features:
    return replace(table, X=X, sources=[{"spec": f'{{"layer": "{number}"}}'}])
