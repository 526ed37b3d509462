"""The figure of the best of seven heads, without what choosing it adds, is that on other images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.scoring.intervals import Metric
from tlx.classify.scoring.metrics import score
from tlx.classify.scoring.selection import correct_for_choice
from tlx.classify.table import Features

from .common import Row, Setting, components, draw_rows, part
from .tests_among_heads import ranked

# Fixed parameters, so that many data sets take seconds.
HEADS = (
    ("logreg", {"C": 1.0}),
    ("logreg", {"C": 0.01}),
    ("lda", {"shrinkage": 0.1}),
    ("lda", {"shrinkage": 0.7}),
    ("ridge", {"alpha": 100.0}),
    ("knn", {"k": 7}),
    ("centroid", {"temperature": 1.0}),
)


def measure(setting: Setting) -> Iterator[Row]:
    """Choose the most accurate of seven on a split and in folds, and ask all other images."""
    for pool in setting.pools:
        table = replace(pool.table, X=components(pool.table, 40).astype(np.float32))
        for n in (200, 400):
            figures = [
                figure
                for _ in range(3)
                for figure in _of_split(setting, table, n, setting.times(60))
            ]
            yield from _rows(f"best of 7, {pool.name}, {n} images", figures)
        figures = [_of_folds(setting, table) for _ in range(setting.times(30))]
        yield from _rows(f"best of 7, {pool.name}, 150 in 5 folds", figures)


Figures = tuple[float, Metric, float]  # told, corrected, true


def _of_split(setting: Setting, table: Features, n: int, times: int) -> Iterator[Figures]:
    train, others = draw_rows(table, 200, setting.rng)
    y, taught = table.y[others], part(table, train)
    fitted = [evaluate_head(taught, name, n_folds=2, **fixed) for name, fixed in HEADS]
    heads = np.stack([one.head.predict_proba(table.X[others]) for one in fitted])
    truth = (heads.argmax(axis=2) == y).mean(axis=1)
    for _ in range(times):
        rows = setting.rng.integers(0, len(y), n)
        yield _figures(y[rows], heads[:, rows], truth)


def _of_folds(setting: Setting, table: Features) -> Figures:
    """Return figures of 150 images; the truth is that of heads that learn from 4/5 of them."""
    rows, others = draw_rows(table, 150, setting.rng)
    drawn = part(table, rows)
    heads, truth = [], []
    for name, fixed in HEADS:
        heads.append(evaluate_head(drawn, name, **fixed).probabilities)
        parts = [
            evaluate_head(part(table, rows[train]), name, n_folds=2, **fixed).head
            for train, _ in drawn.folds(5, 0)[:2]
        ]
        found = [one.predict_proba(table.X[others]).argmax(axis=1) for one in parts]
        truth.append(np.mean([each == table.y[others] for each in found]))
    return _figures(drawn.y, np.stack(heads), np.array(truth))


def _figures(y: np.ndarray, heads: np.ndarray, truth: np.ndarray) -> Figures:
    order = ranked(y, heads, "accuracy")
    told = score(y, order[0])["accuracy"]
    corrected = correct_for_choice(told, y, list(order), np.arange(len(y)), resamples=100)
    chosen = next(k for k, head in enumerate(heads) if np.array_equal(head, order[0]))
    return told.value, corrected, float(truth[chosen])


def _rows(where: str, figures: list[Figures]) -> Iterator[Row]:
    told, left = (
        100 * np.array([value - truth for value, truth in pairs])
        for pairs in (
            [(told, truth) for told, _, truth in figures],
            [(corrected.value, truth) for _, corrected, truth in figures],
        )
    )
    chance = 2 * float(left.std()) / len(left) ** 0.5
    yield Row.value(
        f"left of {told.mean():+.2f} points, {where}",
        abs(float(left.mean())),
        at_most=0.2 + chance,
        shown="{:.2f}",
    )
