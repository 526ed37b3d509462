"""Intervals of log loss, balanced accuracy, F1 and AUC hold the truth where images are few.

A head learns from some images of a pool, and all others are the population: samples of these are
scored, as a validation split is. Unequal classes are drawn as such. Of folds the kept head is the
truth. Groups and a hundred classes are of generated scores, as no pool has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.scoring.metrics import score

from .common import Pool, Row, Setting, draw_rows, part

METRICS = ("balanced_accuracy", "macro_f1", "log_loss", "roc_auc")
LEARNED_FROM = 100
LDA = {"shrinkage": [0.5]}


@dataclass(frozen=True)
class Population:
    """All images that a classifier is judged on; their groups are of one size."""

    name: str
    y: np.ndarray
    p: np.ndarray
    in_groups_of: int = 1

    def sample(self, m: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return m random images, whole groups of them, and the number of the group of each."""
        size = self.in_groups_of
        first = rng.integers(0, len(self.y) // size, m // size) * size
        return (first[:, None] + np.arange(size)).ravel(), np.arange(m // size * size) // size


def learned(pool: Pool, rng: np.random.Generator, classes: Iterable[int] = ()) -> Population:
    """Return all images of a pool, or of some classes, but those that lda learns from here."""
    wanted = np.array(list(classes) or np.unique(pool.table.y))
    table = part(pool.table, np.flatnonzero(np.isin(pool.table.y, wanted)))
    number = np.searchsorted(wanted, table.y)
    table.y, table.class_names = number, tuple(table.class_names[c] for c in wanted)
    rows, others = draw_rows(table, LEARNED_FROM, rng)
    head = evaluate_head(part(table, rows), "lda", n_folds=2, grid=LDA).head
    return Population(pool.name, number[others], head.predict_proba(table.X[others]))


def scores(
    name: str, C: int, apart: float, rng: np.random.Generator, in_groups_of: int = 1
) -> Population:
    """Return 40,000 images of C classes by normal scores; a group is of one class and offset."""
    group = np.arange(40_000) // in_groups_of
    y = rng.integers(0, C, len(group))[group * in_groups_of]
    logits = apart * np.eye(C)[y] + rng.standard_normal((len(y), C))
    if in_groups_of > 1:
        logits += rng.standard_normal((len(y), C))[group]
    logits *= apart / (2 if in_groups_of > 1 else 1)  # these are the odds
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Population(name, y, p / p.sum(axis=1, keepdims=True), in_groups_of)


def measure(setting: Setting) -> Iterator[Row]:
    rng, times = setting.rng, setting.times(150, least=25)
    everything = [learned(pool, rng) for pool in setting.pools]
    everything += [
        scores("easy scores", 2, 3.0, rng),
        scores("groups of five", 3, 2.0, rng, in_groups_of=5),
    ]
    for population in everything:
        for m in (50, 400):
            drawn = (population.sample(m, rng) for _ in range(times))
            yield from _rows(population, f"{m} held out", drawn, METRICS, times)
    many = scores("100 classes of five", 100, 3.0, rng)
    five = [np.flatnonzero(many.y == c)[:150] for c in range(100)]
    drawn = (
        (np.concatenate([rng.choice(rows, 5) for rows in five]), np.arange(500))
        for _ in range(setting.times(60, least=15))
    )
    yield from _rows(many, "500 held out", drawn, METRICS, setting.times(60, least=15))
    for pool in setting.pools:
        two = learned(pool, rng, np.unique(pool.table.y)[:2])
        for sizes in ((297, 3), (45, 5)):
            yield from _unequal(two, sizes, rng, times)
        yield from _folds(pool, setting)


def _unequal(
    population: Population, sizes: tuple[int, int], rng: np.random.Generator, times: int
) -> Iterator[Row]:
    """Draw so many images of each class; the truth is of classes in that proportion."""
    of_class = [np.flatnonzero(population.y == c) for c in (0, 1)]
    drawn = (
        (
            np.concatenate([rng.choice(r, n) for r, n in zip(of_class, sizes, strict=True)]),
            np.arange(sum(sizes)),
        )
        for _ in range(times)
    )
    wanted = ("balanced_accuracy", "roc_auc")  # as they do not depend on the proportion
    name = f"{sizes[0]} to {sizes[1]}"
    yield from _rows(population, name, drawn, wanted, times)


def _rows(
    population: Population,
    what: str,
    drawn: Iterable[tuple[np.ndarray, np.ndarray]],
    metrics: tuple[str, ...],
    times: int,
) -> Iterator[Row]:
    truth = score(population.y, population.p)
    hits = dict.fromkeys(metrics, 0)
    for rows, group in drawn:
        found = score(population.y[rows], population.p[rows], group)
        for name in metrics:
            hits[name] += found[name].low <= truth[name].value <= found[name].high
    for name in metrics:
        yield Row.rate(f"{name}, {population.name}, {what}", hits[name], times, at_least=0.92)


def _folds(pool: Pool, setting: Setting) -> Iterator[Row]:
    times = setting.times(40, least=10)
    hits = dict.fromkeys(METRICS, 0)
    n = max(100, 20 * len(pool.table.class_names))
    for _ in range(times):
        rows, others = draw_rows(pool.table, n, setting.rng)
        found = evaluate_head(part(pool.table, rows), "lda", grid=LDA)
        truth = score(pool.table.y[others], found.head.predict_proba(pool.table.X[others]))
        for name in METRICS:
            metric = found.metrics[name]
            hits[name] += metric.low <= truth[name].value <= metric.high
    for name in METRICS:
        yield Row.rate(f"{name}, {pool.name}, {n} in 5 folds", hits[name], times, at_least=0.92)
