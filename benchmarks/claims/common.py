"""What claims are measured with: populations, random samples of them, and rows of the table.

A topic is a module here with ``measure(setting) -> Iterator[Row]``. It draws data sets from a
population that is known whole, lets tlx say what it says of each, and counts how often that held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from tlx.classify.table import Features


@dataclass(frozen=True)
class Row:
    """One line of the table: what is claimed, what is wanted of it, and what came out."""

    claim: str
    wanted: str
    measured: str
    holds: bool

    @classmethod
    def rate(
        cls,
        claim: str,
        hits: int,
        n: int,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> Row:
        """Judge how often something happened in n data sets, allowing for the chance of so few.

        The chance is two standard errors of a share that is just as wanted.
        """
        share = hits / n
        wanted = at_least if at_least is not None else at_most
        assert wanted is not None
        slack = 2 * (wanted * (1 - wanted) / n) ** 0.5
        holds = share >= wanted - slack if at_least is not None else share <= wanted + slack
        sign = "≥" if at_least is not None else "≤"
        return cls(claim, f"{sign} {wanted:.0%}", f"{share:.1%} of {n}", holds)

    @classmethod
    def value(
        cls,
        claim: str,
        measured: float,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        shown: str = "{:.4f}",
    ) -> Row:
        """Judge a number as it is."""
        wanted = at_least if at_least is not None else at_most
        assert wanted is not None
        holds = measured >= wanted if at_least is not None else measured <= wanted
        sign = "≥" if at_least is not None else "≤"
        return cls(claim, f"{sign} {shown.format(wanted)}", shown.format(measured), bool(holds))


@dataclass(frozen=True)
class Pool:
    """A population: all that there is, as a table without splits."""

    name: str
    table: Features


@dataclass(frozen=True)
class Setting:
    """What a topic measures with.

    Attributes
    ----------
    pools : list of Pool
        Generated features always; digits and folders of photos where they are in reach.
    rng : Generator
    effort : float
        1 for the whole table, less for a look.
    """

    pools: list[Pool]
    rng: np.random.Generator
    effort: float = 1.0

    def times(self, n: int, least: int = 4) -> int:
        """Return how many data sets to draw where n are wanted at full effort."""
        return max(least, round(n * self.effort))

    def pool(self, name: str) -> Pool | None:
        """Return the population of this name, None if it is out of reach."""
        return next((pool for pool in self.pools if pool.name == name), None)


def part(table: Features, rows: np.ndarray, split: Iterable[str] | str = "") -> Features:
    """Return some rows of a table, once or several times each, and the splits that they are of.

    Rows taken twice are two images here: a sample with replacement stands for one of a population
    without end.
    """
    rows = np.asarray(rows)
    splits = [split] * len(rows) if isinstance(split, str) else list(split)
    number = np.arange(len(rows), dtype=">u8")
    digest = np.zeros((len(rows), 32), np.uint8)
    digest[:, :8] = number.view(np.uint8).reshape(-1, 8)
    return replace(
        table,
        X=table.X[rows],
        y=table.y[rows],
        split=np.array(splits),
        groups=np.arange(len(rows)),
        digest=digest,
        paths=[f"{i}.png" for i in range(len(rows))],
        view=np.zeros(len(rows), np.int64),
    )


def draw_rows(table: Features, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return n random rows with every class in its share, and all others, in random order."""
    order = rng.permutation(len(table))
    y = table.y[order]
    place = np.empty(len(table))  # of a row within its class, 0 to 1: the first n are stratified
    for label in np.unique(y):
        mine = np.flatnonzero(y == label)
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    order = order[np.argsort(place, kind="stable")]
    return rng.permutation(order[:n]), order[n:]


def components(table: Features, D: int = 64) -> np.ndarray:
    """Return the first D principal components of a population (N, D): many heads in little time."""
    X = np.asarray(table.X, np.float64)
    X = X - X.mean(axis=0)
    return X @ np.linalg.eigh(X.T @ X)[1][:, -D:]


def generated(
    rng: np.random.Generator, n: int = 6000, C: int = 5, D: int = 64, apart: float = 3.4
) -> Features:
    """Return a population of C classes: rectified Gaussian features, as those of a network are."""
    y = rng.permutation(np.arange(n) % C)
    spectrum = np.arange(1, D + 1) ** -0.5
    centres = rng.standard_normal((C, D)) * spectrum
    centres *= apart / np.linalg.norm(centres / spectrum, axis=1, keepdims=True)
    latent = centres[y] + rng.standard_normal((n, D)) * spectrum
    X = np.maximum(latent @ rng.standard_normal((D, D)) / D**0.5, 0).astype(np.float32)
    table = Features(
        X=X,
        y=y.astype(np.int64),
        split=np.full(n, ""),
        groups=np.arange(n),
        digest=np.zeros((n, 32), np.uint8),
        paths=[""] * n,
        class_names=tuple(f"class {c}" for c in range(C)),
        dataset="generated",
        root="",
        sources=[],
    )
    return part(table, np.arange(n))


Measure = Callable[[Setting], Iterator[Row]]
