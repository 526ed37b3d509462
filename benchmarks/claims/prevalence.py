"""Classes that are rarer where a head is used: probabilities, estimates, and what is promised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tlx.classify.scoring.calibrate import choose_threshold
from tlx.classify.scoring.crossval import Evaluation, evaluate_head
from tlx.classify.scoring.metrics import image_loss
from tlx.classify.scoring.prevalence import (
    estimate_prior,
    label_weights,
    move_prior,
    prevalence_shift,
)
from tlx.errors import FitError

from .common import Pool, Row, Setting, part

IMAGES = 300  # to learn from, all classes alike
RARE = 0.05  # share of half of the classes together where the head is used
ERROR = 0.1  # that a rejection promises
FACTOR = 1.8  # images shared by 5 folds: they count for so many times fewer


@dataclass
class Tally:
    """What was counted in the data sets of one population."""

    losses: dict[str, list[float]] = field(default_factory=lambda: {k: [] for k in KINDS})
    alarms: dict[int, int] = field(default_factory=lambda: {100: 0, 1000: 0})
    shifts: int = 0
    covered: int = 0
    broken: int = 0
    refused: int = 0


KINDS = ("as learned", "stated", "estimated")


def measure(setting: Setting) -> Iterator[Row]:
    """Learn with all classes alike; use with half of them rare, and with all alike."""
    for pool in setting.pools:
        times, tally = setting.times(80), Tally()
        for _ in range(times):
            one_data_set(pool, setting.rng, tally)
        loss = {kind: float(np.mean(values)) for kind, values in tally.losses.items()}
        for kind in KINDS[1:]:
            claim = f"log loss by log loss without, prior {kind}, {pool.name}"
            yield Row.value(claim, loss[kind] / loss["as learned"], at_most=1.0)
        claim = f"interval of an estimated share, {pool.name}"
        yield Row.rate(claim, tally.covered, times, at_least=0.92)
        for n, alarms in tally.alarms.items():
            claim = f"--prior auto moves where nothing did, {pool.name}, {n} images"
            yield Row.rate(claim, alarms, times, at_most=0.05)
        claim = f"evaluate names a shift where there is none, {pool.name}"
        yield Row.rate(claim, tally.shifts, times, at_most=0.05)
        claim = f"--prior --reject breaks its promise, {pool.name} ({tally.refused} refused)"
        yield Row.rate(claim, tally.broken, times, at_most=0.05)


def one_data_set(pool: Pool, rng: np.random.Generator, tally: Tally) -> None:
    C = len(pool.table.class_names)
    even = np.full(C, 1 / C)
    rare = np.where(np.arange(C) < C // 2, RARE / (C // 2), (1 - RARE) / (C - C // 2))
    shuffled = rng.permutation(len(pool.table))
    half = len(shuffled) // 2
    rows = sample(pool, rng, shuffled[:half], even, IMAGES)
    others = shuffled[half:]
    found = evaluate_head(part(pool.table, np.unique(rows)), "lda", grid={"shrinkage": [0.5]})
    y = pool.table.y[np.unique(rows)]
    learned = np.bincount(y, minlength=C) / len(y)

    used = sample(pool, rng, others, rare, 500)
    p, labels = found.head.predict_proba(pool.table.X[used]), pool.table.y[used]
    guess = estimate_prior(p, learned, found.probabilities, y, len(y) / FACTOR)
    tally.covered += bool(guess.low[0] <= rare[0] <= guess.high[0])
    moved = {"as learned": p, "stated": move_prior(p, learned, rare)}
    moved["estimated"] = move_prior(p, learned, guess.share) if guess.moved else p
    for kind, q in moved.items():
        tally.losses[kind].append(float(image_loss(q[np.arange(len(labels)), labels]).mean()))

    for n in tally.alarms:
        same = sample(pool, rng, others, learned, n)
        q = found.head.predict_proba(pool.table.X[same])
        alarm = estimate_prior(q, learned, found.probabilities, y, len(y) / FACTOR)
        tally.alarms[n] += alarm.moved
    same = sample(pool, rng, others, even, 200)
    shift = prevalence_shift(pool.table.y[same], np.arange(200), learned, len(y))
    tally.shifts += shift is not None
    breaks(pool, others, found, y, learned, rare, tally)


def sample(
    pool: Pool, rng: np.random.Generator, rows: np.ndarray, share: np.ndarray, n: int
) -> np.ndarray:
    """Return n of `rows`, with replacement, whose classes are as frequent as `share` says."""
    y = pool.table.y[rows]
    return rng.choice(rows, n, p=label_weights(y, share) / len(y))


def breaks(
    pool: Pool,
    others: np.ndarray,
    found: Evaluation,
    y: np.ndarray,
    learned: np.ndarray,
    rare: np.ndarray,
    tally: Tally,
) -> None:
    """Count whether more than 10% of the accepted images are wrong at the rare prevalence."""
    scored = move_prior(found.probabilities, learned, rare)
    weights = label_weights(y, rare)
    try:
        chosen = choose_threshold(y, scored, np.arange(len(y)), ERROR, weights=weights)
    except FitError:
        tally.refused += 1
        return
    p = move_prior(found.head.predict_proba(pool.table.X[others]), learned, rare)
    labels = pool.table.y[others]
    accepted = p.max(axis=1) >= chosen.threshold
    wrong = accepted & (p.argmax(axis=1) != labels)
    weight = label_weights(labels, rare)
    tally.broken += bool(weight[wrong].sum() > ERROR * weight[accepted].sum())
