"""A fine-tuned network is kept over its head only where it is better on all other images.

The network is a linear layer that goes on learning from the head's weights, by AdamW as in
`tlx.finetune.train`: it overfits as a network does, and hundreds of them are trained in a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tlx.classify.heads.linear import softmax
from tlx.classify.scoring.calibrate import apply_temperature, fit_temperature
from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.table import Features
from tlx.finetune.verdict import Verdict, cross_fit, epoch_losses, judge

from .common import Pool, Row, Setting, draw_rows, part

EPOCHS, BATCH, PATIENCE = 10, 32, 3
TRAIN, HELD_OUT = 200, (50, 150, 400)
# Learning rate, C of the head, share of labels that are wrong when the network is trained, and of
# the features that the head has: from hardly a change to much worse; and better.
NO_GAIN = ((3e-4, 0.1, 0.0, 1.0), (3e-3, 0.1, 0.0, 1.0), (3e-4, 0.1, 0.1, 1.0))
GAIN = ((1e-3, 1.0, 0.0, 0.05),)


@dataclass(frozen=True)
class Tuned:
    """Labels (N,) of a population, logits (N, C) of a head and (E, N, C) of each epoch."""

    y: np.ndarray
    head: np.ndarray
    epochs: np.ndarray

    def held_out(self, rows: np.ndarray) -> Tuned:
        """Return some rows, and the epochs up to where patience with them ends."""
        y, epochs = self.y[rows], self.epochs[:, rows]
        losses = epoch_losses(y, np.stack([softmax(one) for one in epochs])).mean(axis=1)
        lowest, stale, n = loss_of(y, softmax(self.head[rows])), 0, 0
        while n < len(losses) and stale < PATIENCE:
            stale = 0 if losses[n] < lowest else stale + 1
            lowest, n = min(lowest, losses[n]), n + 1
        return Tuned(y, self.head[rows], epochs[:n])


def loss_of(y: np.ndarray, proba: np.ndarray) -> float:
    return float(epoch_losses(y, proba[None]).mean())


def tune(
    table: Features,
    n: int,
    rng: np.random.Generator,
    lr: float,
    C: float,
    wrong: float,
    seen: float,
) -> Tuned:
    """Fit a head on n images and a share of the features, and let it learn on from all of those."""
    train, others = draw_rows(table, n, rng)
    X, y = table.X[train], table.y[train]
    centre, scale = X.mean(axis=0), X.std(axis=0) + X.std() / 4
    columns = rng.permutation(X.shape[1])[: max(2, round(seen * X.shape[1]))]
    few = part(table, train)
    few.X[:] = 0
    few.X[:, columns] = ((X - centre) / scale)[:, columns]
    head = evaluate_head(few, "logreg", n_folds=2, grid={"C": [C]}).head
    weights = [np.float32(head.weights), np.float32(head.bias)]
    pool = np.float32((table.X[others] - centre) / scale)
    labels = np.where(rng.random(n) < wrong, rng.integers(0, len(table.class_names), n), y)
    start = pool @ weights[0] + weights[1]
    return Tuned(
        table.y[others], start, descend((X - centre) / scale, labels, weights, pool, rng, lr)
    )


def descend(
    X: np.ndarray,
    y: np.ndarray,
    weights: list[np.ndarray],
    pool: np.ndarray,
    rng: np.random.Generator,
    lr: float,
) -> np.ndarray:
    """Go down the log loss by AdamW; return the logits of the pool after each epoch."""
    first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
    target = np.eye(weights[1].size, dtype=np.float32)[y]
    batches = -(-len(y) // BATCH)
    step, logits = 0, []
    for _ in range(EPOCHS):
        for rows in np.array_split(rng.permutation(len(y)), batches):
            step += 1
            rate = lr * (1 + np.cos(np.pi * step / (EPOCHS * batches))) / 2
            x = X[rows].astype(np.float32)
            error = (softmax(x @ weights[0] + weights[1]) - target[rows]) / len(rows)
            for i, slope in enumerate((x.T @ error, error.sum(axis=0))):
                first[i] += 0.1 * (slope - first[i])
                second[i] += 0.001 * (slope**2 - second[i])
                move = first[i] / (1 - 0.9**step)
                move /= np.sqrt(second[i] / (1 - 0.999**step)) + 1e-7
                weights[i] = np.float32(weights[i] - rate * move)
        logits.append(pool @ weights[0] + weights[1])
    return np.stack(logits)


@dataclass(frozen=True)
class Outcome:
    """What was said of a network, and what is true: it minus its head on the whole population."""

    verdict: Verdict
    log_loss: float
    accuracy: float

    @property
    def kept(self) -> bool:
        return self.verdict.kept == "finetuned"

    @property
    def covered(self) -> bool:
        return self.verdict.log_loss.low <= self.log_loss <= self.verdict.log_loss.high


def outcome(tuned: Tuned, m: int, rng: np.random.Generator) -> Outcome:
    """Judge a network on m images, drawn with replacement: the population is the truth then."""
    held = tuned.held_out(rng.integers(0, len(tuned.y), m))
    groups = np.arange(m)
    _, head = cross_fit(held.y, held.head[None], groups)
    _, network = cross_fit(held.y, held.epochs, groups)
    best = min(range(len(held.epochs)), key=lambda e: loss_of(held.y, softmax(held.epochs[e])))
    loss, right = [], []
    for some, everything in ((held.head, tuned.head), (held.epochs[best], tuned.epochs[best])):
        temperature = fit_temperature(held.y, softmax(some))
        proba = apply_temperature(softmax(everything), temperature)
        loss.append(loss_of(tuned.y, proba))
        right.append(float((proba.argmax(axis=1) == tuned.y).mean()))
    return Outcome(judge(held.y, head, network, groups), loss[1] - loss[0], right[1] - right[0])


def measure(setting: Setting) -> Iterator[Row]:
    """Train networks that gain nothing, and some that do, and judge each on several samples."""
    for pool in setting.pools:
        for m, found in outcomes(setting, pool, setting.times(8, least=2), NO_GAIN).items():
            worse = [one for one in found if one.log_loss >= 0]
            where = f"{pool.name}, {m} held out"
            wrong = sum(one.kept for one in worse)
            yield Row.rate(f"worse network kept, {where}", wrong, max(1, len(worse)), at_most=0.05)
            held = sum(one.covered for one in found)
            claim = f"interval of the gain in log loss, {where}"
            yield Row.rate(claim, held, len(found), at_least=0.9)
        for m, found in outcomes(setting, pool, setting.times(12, least=2), GAIN).items():
            if m > HELD_OUT[0]:
                points = 100 * np.mean([one.accuracy for one in found])
                claim = f"gain of {points:.1f} points found, {pool.name}, {m} held out"
                yield Row.rate(claim, sum(one.kept for one in found), len(found), at_least=0.8)


def outcomes(
    setting: Setting, pool: Pool, times: int, ways: tuple[tuple[float, ...], ...]
) -> dict[int, list[Outcome]]:
    """Train so many networks in each way, and judge each on eight samples of each size."""
    found: dict[int, list[Outcome]] = {m: [] for m in HELD_OUT}
    for _ in range(times):
        for way in ways:
            tuned = tune(pool.table, TRAIN, setting.rng, *way)
            for m in HELD_OUT:
                found[m] += [outcome(tuned, m, setting.rng) for _ in range(8)]
    return found
