"""Each fit of a plan with the point of a head's grid that it takes; of many rows in another way.

Of few rows every fit is made at every point, side by side. Of many (`tlx.classify.large`) that goes
for heads that come from sums. One that takes passes over the rows has its parameters chosen on a
sample of what the fit learns from, and is then fitted once. One that works on no blocks learns from
a sample. No row that is scored has a say in any of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...progress import Progress, share
from ..heads.head import GridPoint, Head
from ..heads.inner import inner_folds
from ..heads.registry import Member, fit_grid, points
from ..large import LEARNED, SAMPLE, draw_rows, is_large
from ..table import Features
from .choice import Choice, choose, held_out, vote
from .log_loss import image_loss
from .plan import Fit, Plan

_PARTS = 5  # of a sample, one of which is held out to choose


def search(
    table: Features,
    plan: Plan,
    members: list[Member],
    seed: int,
    progress: Progress,
) -> dict[int, Choice]:
    """Choose a point of the grid for each fit; of a vote one for each of its members first.

    Parameters
    ----------
    table : Features
    plan : Plan
    members : list of (Head, options, grid)
    seed : int
        Of the heads, and of samples.
    progress : Progress

    Returns
    -------
    dict of int to Choice
        By the number of the fit: of those that are scored or kept.
    """
    costs = [member.cost for member, _, _ in members]
    found = []
    for i, member in enumerate(members):
        part = share(progress, sum(costs[:i]), costs[i], sum(costs))
        search_one = _at_once
        if is_large(table.X) and member[0].many == "passes" and points(member[2]) > 1:
            search_one = _by_samples
        found.append(search_one(table, plan, member, seed, part))
    return vote(table, plan, found)


def told_of_many(table: Features, plan: Plan, members: list[Member]) -> str:
    """Return what the protocol adds of the way that many rows were learned from; "" of few."""
    if not is_large(table.X):
        return ""
    n = len(plan.fits[plan.kept].train)
    sampled = [m for m, _, _ in members if m.many == "sample" and n > LEARNED]
    chosen = [
        ", ".join(grid)
        for m, _, grid in members
        if m.many == "passes" and points(grid) > 1 and n > SAMPLE
    ]
    notes = [f", {name} chosen on a sample of {SAMPLE:,} images" for name in chosen]
    return "".join(notes) + (f", learned from a sample of {LEARNED:,} images" if sampled else "")


def _at_once(
    table: Features, plan: Plan, member: Member, seed: int, progress: Progress
) -> dict[int, Choice]:
    """Make all fits at all points."""
    head, given, grid = member
    path = fit_grid(
        head,
        table.X,
        table.y,
        _weights(table, plan.fits, head, seed),
        grid or None,
        groups=table.groups,
        seed=seed,
        progress=progress,
        **given,
    )
    return choose(table, plan, path, points(grid))


def _by_samples(
    table: Features, plan: Plan, member: Member, seed: int, progress: Progress
) -> dict[int, Choice]:
    """Choose for each fit on a sample, then fit it, and what calibrates it, at that point."""
    head, given, grid = member
    names, wanted = list(grid), [*plan.scored, *({plan.kept} - set(plan.scored))]
    takes: dict[tuple[float, ...], list[int]] = {}
    for done, k in enumerate(wanted):
        part = share(progress, done, 1, 2 * len(wanted))
        point = _chosen(table, plan.fits[k], member, seed, part)
        takes.setdefault(tuple(point[name] for name in names), []).append(k)
    chosen: dict[int, Choice] = {}
    for done, (values, fits) in enumerate(takes.items()):
        needed = sorted({i for k in fits for i in (*plan.calibrating(k), k)})
        (point,) = fit_grid(
            head,
            table.X,
            table.y,
            _weights(table, [plan.fits[i] for i in needed], head, seed),
            {name: [value] for name, value in zip(names, values, strict=True)},
            groups=table.groups,
            seed=seed,
            progress=share(progress, len(takes) + done, 1, 2 * len(takes)),
            **given,
        )
        proba = {
            i: held_out(point, place, plan.fits[i].held_out, table)
            for place, i in enumerate(needed)
        }
        for k in fits:
            kept = point.head(needed.index(k)) if k == plan.kept else None
            own = {i: proba[i] for i in {*plan.calibrating(k), k}}
            chosen[k] = Choice(point.params, own, kept)
    return chosen


def _chosen(
    table: Features, fit: Fit, member: Member, seed: int, progress: Progress
) -> dict[str, Any]:
    """Return the point that loses least on a part held out of a sample of what a fit learns from.

    The middle of the grid is taken if nothing can be held out.
    """
    head, given, grid = member
    rows = draw_rows(fit.train, table.groups, SAMPLE, seed)
    y, groups = table.y[rows], table.groups[rows]
    fold, n = inner_folds(y, groups, _PARTS, seed + 1)
    held = np.flatnonzero((fold == 0) & (table.view[rows] == 0))
    if not n or not len(held):
        return {name: values[len(values) // 2] for name, values in grid.items()}
    weights = np.where(fold == 0, 0.0, 1.0)[None]
    X = table.X[rows]
    path = fit_grid(head, X, y, weights, grid, groups=groups, seed=seed, progress=progress, **given)

    def loss(point: GridPoint) -> float:
        if table.X_tta is None:
            proba = point.proba(0, held)
        else:
            proba = point.head(0).predict_proba(table.X_tta[rows[held]])
        return float(image_loss(proba[np.arange(len(held)), y[held]]).sum())

    return min(((loss(point), i, point.params) for i, point in enumerate(path)))[2]


def _weights(table: Features, fits: list[Fit], head: Head, seed: int) -> np.ndarray:
    """Return the weights (F, N) of all rows in some fits."""
    weights = np.zeros((len(fits), len(table)), np.float32)
    for weight, fit in zip(weights, fits, strict=True):
        weight[fit.train] = 1
    if is_large(table.X) and head.many == "sample":
        learned = np.flatnonzero(weights.any(axis=0))
        sample = draw_rows(learned, table.groups, LEARNED, seed)
        left_out = np.ones(len(table), bool)
        left_out[sample] = False
        weights[:, left_out] = 0
    return weights
