"""Which rows a head learns from, which it is scored on, and which choose its parameters.

With a validation split, a head learns from train and is scored on validation. Without one, each
outer fold is scored by a head that never saw it, and whose parameters were chosen by inner folds
that never saw it either. Where a fit learns from more than `ONE_PART` images, one part of them is
held out for that instead of as many as there are folds: it tells as much.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...errors import DataError, FitError
from ..folds import groups_per_class, stratified_group_folds
from ..table import Features

ONE_PART = 20_000  # images that are learned from, above which one of the inner folds will do


@dataclass
class Fit:
    """One fit: what it learns from, what it is scored on, and which fits choose its parameters.

    Attributes
    ----------
    train, held_out : ndarray of int
        Rows of the table.
    inner : list of int
        Places in the plan of the fits whose held-out loss chooses this one's parameters.
    """

    train: np.ndarray
    held_out: np.ndarray
    inner: list[int] = field(default_factory=list)


@dataclass
class Plan:
    """All fits that one evaluation needs.

    Attributes
    ----------
    protocol : str
        For people: "validation split", "nested 5-fold".
    fits : list of Fit
    scored : list of int
        The fits whose held-out rows are scored; together they hold each such row once.
    kept : int
        The fit whose head is kept.
    """

    protocol: str
    fits: list[Fit]
    scored: list[int]
    kept: int

    def calibrating(self, fit: int) -> list[int]:
        """Return the fits whose held-out rows tell how sure the head of a fit may be.

        They are its inner ones, so that its own held-out rows have no say; of the kept one, which
        need not be blind to anything that was scored, the scored ones as well.
        """
        own = self.fits[fit].inner
        return [*own, *(k for k in self.scored if k not in own)] if fit == self.kept else own


def make_plan(
    table: Features,
    n_folds: int = 5,
    seed: int = 0,
    *,
    search: bool = True,
    max_per_class: int | None = None,
    draw: int = 0,
) -> Plan:
    """Decide which fits an evaluation needs.

    Parameters
    ----------
    table : Features
    n_folds : int, default=5
        Outer folds, and the most inner ones; ignored for the outer if there is a validation split.
    seed : int, default=0
        Of the folds.
    search : bool, default=True
        Whether there is anything to choose. If not, there are no inner folds.
    max_per_class : int, optional
        Learn from so many images of each class at most, drawn at random; all else that a fold holds
        out is scored all the same. Inner folds see the images drawn only.
    draw : int, default=0
        Number of the draw: with the same seed the folds stay the same.

    Raises
    ------
    FitError
        If there is one class only.
    DataError
        If `max_per_class` is not positive, a class has fewer independent images than folds, or the
        validation split does not fit.
    """
    if len(table.class_names) < 2:
        raise FitError(
            f"data set {table.dataset!r} has one class only: {', '.join(table.class_names)!r}.",
            "A classifier needs two. Add a folder for another class and run tlx embed again.",
        )
    if max_per_class is not None and max_per_class < 1:
        raise DataError(f"{max_per_class} images a class.", "Use --max-per-class 1 or more.")
    fits: list[Fit] = []
    shuffled = np.random.default_rng([seed, draw]).permutation(len(table))

    def add(train: np.ndarray, held_out: np.ndarray, inner: list[int] | None = None) -> int:
        if max_per_class is not None:
            train = _first_of_each_class(table, train, shuffled, max_per_class)
        if inner is None and not search:
            inner = []
        if inner is None:
            pairs = _inner_folds(table, train, n_folds, seed + 1)
            pairs = pairs[:1] if len(train) > ONE_PART else pairs
            inner = [add(a, b, []) for a, b in pairs]
        fits.append(Fit(train, held_out, inner))
        return len(fits) - 1

    validation = table.split == "validation"
    if validation.any():
        ((train, held_out),) = table.folds()
        _check_validation(table, train, held_out)
        protocol = "validation split"
        if shared := int((~validation).sum()) - len(train):
            protocol += f", {shared} train images left out that are in validation too"
        kept = add(train, held_out)
        return Plan(protocol + _one_part(fits, [kept]), fits, [kept], kept)
    rows = table.folds(n_folds, seed)
    if search and n_folds > 2 and len(rows[0][0]) > ONE_PART and max_per_class is None:
        # The part that a fold holds out to choose is the next fold: so there are n_folds parts in
        # all, and what is summed over one of them serves every fit that learns from it.
        outer = [
            add(*own, [add(np.intersect1d(own[0], after[0], assume_unique=True), after[1], [])])
            for own, after in zip(rows, [*rows[1:], rows[0]], strict=True)
        ]
    else:
        outer = [add(*own) for own in rows]
    everything = np.arange(len(table))
    # The outer folds choose for the head that is kept, unless it learns from far fewer images.
    kept = add(everything, everything[:0], outer if max_per_class is None else None)
    protocol = f"nested {n_folds}-fold" if search else f"{n_folds}-fold"
    return Plan(protocol + _one_part(fits, outer), fits, outer, kept)


def _one_part(fits: list[Fit], scored: list[int]) -> str:
    """Return what the protocol adds where one part is held out to choose, not as many as folds."""
    one = any(len(fits[k].inner) == 1 for k in scored)
    return ", parameters chosen on one held-out part" if one else ""


def _first_of_each_class(
    table: Features, rows: np.ndarray, order: np.ndarray, n: int
) -> np.ndarray:
    """Return those of `rows` whose image is among the first n of its class in `order`."""
    allowed = np.zeros(len(table), bool)
    allowed[rows] = table.view[rows] == 0
    order = order[allowed[order]]
    y = table.y[order]
    drawn = np.sort(np.concatenate([order[y == k][:n] for k in np.unique(y)]))
    if not table.view.any():
        return drawn
    paths = {table.paths[row] for row in drawn}  # their augmented views come along
    return np.array([row for row in rows if table.paths[row] in paths])


def _inner_folds(
    table: Features, train: np.ndarray, n_folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (train, held out) pairs within `train`; none if some class has one group only."""
    y, groups = table.y[train], table.groups[train]
    counts = groups_per_class(y, groups)
    n_folds = min(n_folds, int(counts[np.unique(y)].min()))
    if n_folds < 2:
        return []
    fold = stratified_group_folds(y, groups, n_folds, seed)
    plain = table.view[train] == 0
    return [(train[fold != k], train[(fold == k) & plain]) for k in range(n_folds)]


def _check_validation(table: Features, train: np.ndarray, validation: np.ndarray) -> None:
    """Refuse a validation split with a class that train lacks."""
    unseen = set(table.y[validation]) - set(table.y[train])
    if unseen:
        names = ", ".join(repr(table.class_names[label]) for label in sorted(unseen))
        raise DataError(
            f"the validation split has classes that train lacks: {names}.",
            "Give train images of them (copies of validation images do not count), or remove them "
            "from validation.",
        )
