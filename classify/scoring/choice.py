"""What each fit takes: the point of a grid, and the features, whose inner fits lose least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..heads.head import GridPoint, predict_rows
from ..heads.linear import average, softmax
from ..sources import layers_of
from ..table import Features
from .calibrate import HeldOut, fit_temperature, log_probabilities, pooled
from .intervals import standard_error
from .log_loss import image_loss
from .plan import Fit, Plan


@dataclass(frozen=True)
class Choice:
    """The point of the grid that one fit takes.

    Attributes
    ----------
    params : dict
        The point.
    proba : dict of int to ndarray
        At this point, what the fit and those that calibrate it give their held-out rows.
    head : predictor or None
        Of the fit that is kept.
    """

    params: dict[str, Any]
    proba: dict[int, np.ndarray]
    head: Any


def choose(
    table: Features, plan: Plan, path: Iterable[GridPoint], n_points: int
) -> dict[int, Choice]:
    """Choose a point of the grid for each fit that is scored or kept.

    It is that of the least log loss over the rows that the inner fits held out. Ties go to the
    stronger penalty, which comes first. Without inner fits (a class of a single image) nothing can
    be chosen, and the middle of the grid is taken. As points come one after the other, only the
    probabilities of the best ones so far are held.

    Parameters
    ----------
    table : Features
    plan : Plan
    path : iterable of GridPoint
        All fits of the plan, as `tlx.classify.heads.registry.fit_grid` yields them.
    n_points : int
        How many points there are.

    Returns
    -------
    dict of int to Choice
        By the number of the fit.
    """
    chosen: dict[int, Choice] = {}
    least: dict[int, float] = {}
    for number, point in enumerate(path):
        proba = [held_out(point, k, fit.held_out, table) for k, fit in enumerate(plan.fits)]
        total = np.array([_loss(table, *each) for each in zip(plan.fits, proba, strict=True)])
        for k in {*plan.scored, plan.kept}:
            inner = plan.fits[k].inner
            loss = float(total[inner].sum()) if inner else abs(number - n_points // 2)
            if k not in chosen or loss < least[k]:
                held = {i: proba[i] for i in {*plan.calibrating(k), k}}
                head = point.head(k) if k == plan.kept else None
                chosen[k], least[k] = Choice(point.params, held, head), loss
    return chosen


def held_out(point: GridPoint, fit: int, rows: np.ndarray, table: Features) -> np.ndarray:
    """Return the probabilities of rows held out, seen as the run will see new images."""
    if table.X_tta is None:
        return point.proba(fit, rows)
    return predict_rows(point.head(fit), table.X_tta, rows)


def _loss(table: Features, fit: Fit, proba: np.ndarray) -> float:
    """Return the sum of the log loss over the rows held out."""
    own = proba[np.arange(len(proba)), table.y[fit.held_out]]
    return float(image_loss(own).sum())


def told(table: Features, plan: Plan, choice: Choice, fits: Sequence[int]) -> HeldOut:
    """Return the classes and probabilities of all rows that some fits held out."""
    none = np.empty((0, len(table.class_names)))
    parts = [(table.y[plan.fits[k].held_out], choice.proba[k]) for k in fits]
    return pooled([(table.y[:0], none), *parts])


def vote(table: Features, plan: Plan, members: Sequence[dict[int, Choice]]) -> dict[int, Choice]:
    """Return the mean of the calibrated logits of several heads; of a single one it alone.

    Each head's temperature comes from the inner fits alone, so that no scored row has a say in it.
    Where a scored fit has none, no logits are calibrated: the head that is kept has the outer folds
    for that, but has to be what was scored. The mean of probabilities is as good, but would be no
    linear head.
    """
    if len(members) == 1:
        return members[0]
    calibrated = all(plan.fits[k].inner for k in plan.scored)
    out = {}
    for k in members[0]:
        fits = plan.fits[k].inner if calibrated else []
        own = [_calibrated(table, plan, choices[k], fits) for choices in members]
        out[k] = Choice(
            {name: value for choice in own for name, value in choice.params.items()},
            {i: softmax(np.mean([c.proba[i] for c in own], axis=0)) for i in own[0].proba},
            average([choice.head for choice in own]) if k == plan.kept else None,
        )
    return out


def _calibrated(table: Features, plan: Plan, choice: Choice, fits: Sequence[int]) -> Choice:
    """Return a choice calibrated by what some fits held out, with logits as its `proba`."""
    T = fit_temperature(*told(table, plan, choice, fits))
    logits = {i: log_probabilities(p) / T for i, p in choice.proba.items()}
    head = None if choice.head is None else choice.head.scaled(1 / T)
    return replace(choice, proba=logits, head=head)


def choose_features(
    tables: Sequence[Features], plan: Plan, found: Sequence[dict[int, Choice]]
) -> tuple[dict[int, int], dict[str, Any]]:
    """Choose among tables of the same rows for each fit that is scored or kept.

    Another table takes the place of the first one only if the mean log loss of the rows that the
    inner fits held out is lower by more than two standard errors of the differences; of several
    such tables the one of the least loss does. No scored row has a say in what its fit takes.

    Parameters
    ----------
    tables : sequence of Features
        The simplest first.
    plan : Plan
        Of any of them.
    found : sequence of dict of int to Choice
        What the fits took of each table's grid.

    Returns
    -------
    taken : dict of int to int
        Place in `tables`, by the number of the fit.
    report : dict
        What is ``kept``, by its layers; the number of scored ``fits``; and of all ``candidates``
        their ``features``, by how much less than the first one they lose for the kept fit
        (``gain``, with its ``standard_error``), and for how many scored fits they were ``chosen``.
    """
    compared = {k: _gains(tables[0], plan, found, k) for k in found[0]}
    taken = {k: _winner(gains) for k, gains in compared.items()}
    names = [layers_of(table.sources) for table in tables]
    candidates = [
        {
            "features": name,
            "gain": gain,
            "standard_error": error,
            "chosen": sum(taken[k] == place for k in plan.scored),
        }
        for place, (name, (gain, error)) in enumerate(zip(names, compared[plan.kept], strict=True))
    ]
    report = {"kept": names[taken[plan.kept]], "fits": len(plan.scored)}
    return taken, {**report, "candidates": candidates}


def _gains(
    table: Features, plan: Plan, found: Sequence[dict[int, Choice]], fit: int
) -> list[tuple[float, float]]:
    """Return by how much less than the first each loses in the mean, and its standard error."""
    inner = plan.fits[fit].inner
    if not inner:
        return [(0.0, 0.0)] * len(found)
    rows = np.concatenate([plan.fits[k].held_out for k in inner])
    group = np.unique(table.groups[rows], return_inverse=True)[1]
    losses = []
    for choices in found:
        y, proba = told(table, plan, choices[fit], inner)
        losses.append(image_loss(proba[np.arange(len(y)), y]))
    gains = [losses[0] - loss for loss in losses]
    return [(float(g.mean()), standard_error(g - g.mean(), group)) for g in gains]


def _winner(gains: Sequence[tuple[float, float]]) -> int:
    """Return the place of the largest gain among those beyond chance; 0 if none is."""
    sure = [place for place, (gain, error) in enumerate(gains) if gain > max(2 * error, 1e-9)]
    return max(sure, key=lambda place: gains[place][0], default=0)
