"""What is told of a head that is scored by means over augmented views holds on other images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tlx.classify.scoring.calibrate import choose_threshold
from tlx.classify.scoring.crossval import Evaluation, evaluate_head
from tlx.classify.sources import mean_of
from tlx.classify.table import Features
from tlx.errors import FitError

from .common import Row, Setting, draw_rows, part

_VIEWS, _IMAGES, _ERROR = 5, 200, 0.1


def measure(setting: Setting) -> Iterator[Row]:
    """Draw images, score lda by means (--tta, @mean-views), and ask all others how good it is."""
    for pool in setting.pools:
        means = _means(pool.table, setting.rng)
        for way in ("--tta", "@mean-views"):
            times = setting.times(60)
            covered = broken = 0
            for _ in range(times):
                rows, others = draw_rows(pool.table, _IMAGES, setting.rng)
                drawn = part(pool.table, rows)
                if way == "--tta":
                    drawn = replace(drawn, tta=_VIEWS, X_tta=means[rows])
                else:
                    drawn = replace(drawn, X=means[rows])
                found = evaluate_head(drawn, "lda", grid={"shrinkage": [0.5]})
                proba, y = found.head.predict_proba(means[others]), pool.table.y[others]
                right = proba.argmax(axis=1) == y
                metric = found.metrics["accuracy"]
                covered += metric.low <= right.mean() <= metric.high
                sure = proba.max(axis=1) >= _threshold(drawn, found)
                broken += bool(sure.any()) and (~right[sure]).mean() > _ERROR
            name = f"{way}, {pool.name}"
            yield Row.rate(f"interval of the accuracy by {name}", covered, times, at_least=0.92)
            yield Row.rate(f"--reject {_ERROR} is broken by {name}", broken, times, at_most=0.05)


def _means(table: Features, rng: np.random.Generator) -> np.ndarray:
    """Return means over plain features and views, which differ as pictures' do: by half a spread.

    All views have part of the difference in common, so that a mean is not merely a better image.
    """
    spread = table.X.std(axis=0) / 2
    shared = rng.standard_normal(table.X.shape)

    def view() -> np.ndarray:
        return table.X + spread * (shared + rng.standard_normal(table.X.shape)) / 2**0.5

    return mean_of([table.X, *(view() for _ in range(_VIEWS))])


def _threshold(table: Features, found: Evaluation) -> float:
    """Return the least confidence that promises the error; more than 1 where none does."""
    y, groups = table.y[found.rows], table.groups[found.rows]
    try:
        return choose_threshold(y, found.probabilities, groups, _ERROR).threshold
    except FitError:
        return 2.0
