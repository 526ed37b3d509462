"""Among equal heads none is called worse, heads that differ are found, and equal ones named so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tlx.classify.scoring.equivalence import images_needed, verdict
from tlx.classify.scoring.metrics import LOWER_IS_BETTER, influences
from tlx.classify.scoring.paired import Difference, compare_paired, compare_with_first

from .common import Pool, Row, Setting, components, draw_rows, part

HEADS = 7
METRICS = ("accuracy", "macro_f1", "log_loss")


def measure(setting: Setting) -> Iterator[Row]:
    """Count false claims among seven equal heads, and true ones where something is to be found."""
    for pool in setting.pools:
        X = rotated(pool)
        y, population = known_population(pool, X, setting.rng)
        for n in (50, 200):
            draws = (of_equal_heads(y, population, n, setting.rng) for _ in range(10**9))
            yield from _false_claims(setting, draws, f"{pool.name}, {n} images")
        draws = (in_folds(pool, X, 150, setting.rng) for _ in range(10**9))
        yield from _false_claims(setting, draws, f"{pool.name}, 150 in 5 folds", n_folds=5)
    yield from _true_claims(setting)
    yield from _equality(setting)


def known_population(
    pool: Pool, X: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return y (M,) and what seven heads (7, M, C) say of all images that they did not learn."""
    train, others = draw_rows(pool.table, 150, rng)
    y = pool.table.y
    heads = np.stack([_lda(X[train], y[train], X[others], rng) for _ in range(HEADS)])
    return y[others], heads


def rotated(pool: Pool, D: int = 40) -> np.ndarray:
    """Return few features (N, D) none of which is worth more than another, so that heads are equal.

    Of cats and dogs one component alone tells the classes apart: heads that have it are better.
    """
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((D, D)))[0]
    return components(pool.table, D) @ rotation


def _lda(X: np.ndarray, y: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what a head says that learns from half of the features, drawn anew for each fit."""
    half = rng.permutation(X.shape[1])[: X.shape[1] // 2]
    head = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3).fit(X[:, half], y)
    return head.predict_proba(others[:, half])


def of_equal_heads(
    y: np.ndarray, population: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return n images and what heads say of them that are equal in truth.

    Of each image the heads of the population swap what they say, at random.
    """
    rows = rng.integers(0, len(y), n)
    who = rng.random((len(population), n)).argsort(axis=0)
    return y[rows], population[who, rows[None]]


def in_folds(
    pool: Pool, X: np.ndarray, n: int, rng: np.random.Generator, folds: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Return n images and what equal heads say of them: each fold draws their features anew."""
    rows, _ = draw_rows(pool.table, n, rng)
    X, table = X[rows], part(pool.table, rows)
    heads = np.zeros((HEADS, n, len(table.class_names)))
    for train, held_out in table.folds(folds, int(rng.integers(1 << 30))):
        for head in heads:
            head[held_out] = _lda(X[train], table.y[train], X[held_out], rng)
    return table.y, heads


def ranked(y: np.ndarray, heads: np.ndarray, metric: str) -> np.ndarray:
    """Return the heads, the best first."""
    found = [influences(metric, y, p) for p in heads]
    values = np.array([one[0] for one in found if one])
    sign = 1 if metric in LOWER_IS_BETTER else -1
    return heads[np.argsort(sign * values, kind="stable")]


def _false_claims(setting: Setting, draws: Iterator, where: str, n_folds: int = 1) -> Iterator[Row]:
    times = setting.times(100)
    hits = dict.fromkeys(METRICS, 0)
    for _ in range(times):
        y, heads = next(draws)
        for metric in METRICS:
            found = compare_with_first(
                metric, y, list(ranked(y, heads, metric)), np.arange(len(y)), n_folds=n_folds
            )
            hits[metric] += any(difference.p_value < 0.05 for difference in found)
    for metric in METRICS:
        claim = f"{HEADS} equal heads, any claim: {metric}, {where}"
        yield Row.rate(claim, hits[metric], times, at_most=0.05)


def _two(n: int, lost: float, gained: float, rng: np.random.Generator) -> Difference:
    """Compare a head with a better one: what share of images each gets right alone."""
    only_one = rng.choice(3, n, p=[gained, lost, 1 - gained - lost])
    worse, better = (np.eye(2)[np.where(only_one == k, 1, 0)] for k in (0, 1))
    return compare_paired("accuracy", np.ones(n, int), worse, better, np.arange(n))


def _true_claims(setting: Setting) -> Iterator[Row]:
    """Heads 2 points apart that differ on 6% of the images, a pair alone and one among 21."""
    times = setting.times(400)
    for n, pairs, least in ((400, 1, 0.25), (400, 21, 0.05), (2000, 1, 0.9), (2000, 21, 0.65)):
        p = [_two(n, 0.04, 0.02, setting.rng).p_value * pairs for _ in range(times)]
        claim = f"2 points are found at {n} images, one of {pairs} comparisons"
        yield Row.rate(claim, sum(one < 0.05 for one in p), times, at_least=least)


def _equality(setting: Setting) -> Iterator[Row]:
    """Heads a point apart are not called equal, and so many images tell as are said to."""
    times = setting.times(400)
    for n in (400, 4000):
        told = [verdict(_two(n, 0.02, 0.01, setting.rng), 0.01) for _ in range(times)]
        claim = f"called equal though a point apart, {n} images"
        yield Row.rate(claim, told.count("equal"), times, at_most=0.05)
    times = setting.times(100, least=20)
    for lost, gained in ((0.03, 0.03), (0.06, 0.03)):
        gap, told = gained - lost, []
        for _ in range(times):
            some = _two(400, lost, gained, setting.rng)
            half = (some.high - some.low) / 2
            n = images_needed(Difference(gap, gap - half, gap + half, 1.0), 0.01, 400)
            assert n is not None
            told.append(verdict(_two(n, lost, gained, setting.rng), 0.01))
        claim = f"as many images as are said tell, {100 * abs(gap):.0f} points apart"
        yield Row.rate(claim, times - told.count("not known"), times, at_least=0.75)
