"""The figure of the best of seven heads, without what choosing it adds, is that on other images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tlx.classify.scoring.intervals import Metric, allow_for_folds
from tlx.classify.scoring.metrics import score
from tlx.classify.scoring.selection import correct_for_choice

from .common import Row, Setting
from .tests_among_heads import few_features, in_folds, known_population, of_equal_heads, ranked


def measure(setting: Setting) -> Iterator[Row]:
    """Choose the most accurate of seven, equal and unequal, and ask all other images."""
    for pool in setting.pools:
        X = few_features(pool)
        y, heads = known_population(pool, X, setting.rng)
        truth = (heads.argmax(axis=2) == y).mean(axis=1)
        for n in (200, 400):
            equal, unequal = [], []
            for _ in range(setting.times(150)):
                found = _chosen(*of_equal_heads(y, heads, n, setting.rng))
                equal.append((*found[1:], float(truth.mean())))
                rows = setting.rng.integers(0, len(y), n)
                first, *figures = _chosen(y[rows], heads[:, rows])
                equals = [np.array_equal(first, head[rows]) for head in heads]
                unequal.append((*figures, float(truth[equals.index(True)])))
            yield from _rows(f"7 equal heads, {pool.name}, {n} images", equal)
            yield from _rows(f"7 heads, {pool.name}, {n} images", unequal)
        samples = [in_folds(pool, X, 150, setting.rng) for _ in range(setting.times(100))]
        # All heads are equal, and so their mean over all data sets is the truth of each.
        mean = float(np.mean([heads.argmax(axis=2) == y for y, heads in samples]))
        folds = [(*_chosen(y, heads, n_folds=5)[1:], mean) for y, heads in samples]
        yield from _rows(f"7 equal heads, {pool.name}, 150 in 5 folds", folds)


def _chosen(
    y: np.ndarray, heads: np.ndarray, n_folds: int = 1
) -> tuple[np.ndarray, Metric, Metric]:
    """Return the most accurate head, its accuracy, and that without what choosing it adds."""
    heads = ranked(y, heads, "accuracy")
    told = allow_for_folds(score(y, heads[0]), n_folds)["accuracy"]
    groups = np.arange(len(y))
    return (
        heads[0],
        told,
        correct_for_choice(told, y, list(heads), groups, n_folds=n_folds, resamples=100),
    )


def _rows(where: str, figures: list[tuple[Metric, Metric, float]]) -> Iterator[Row]:
    n = len(figures)
    told = np.array([told.value - truth for told, _, truth in figures])
    left = np.array([corrected.value - truth for _, corrected, truth in figures])
    chance = 2 * float(left.std()) / n**0.5
    claim = f"left of {100 * told.mean():+.1f} points, {where}"
    yield Row.value(
        claim, 100 * abs(float(left.mean())), at_most=0.2 + 100 * chance, shown="{:.2f}"
    )
    hits = sum(corrected.low <= truth <= corrected.high for _, corrected, truth in figures)
    yield Row.rate(f"its interval, {where}", hits, n, at_least=0.92)
