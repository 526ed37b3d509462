"""Honest numbers: which rows a head learns from, which it is scored on, and how C is chosen.

With a validation split, a head is trained on train and scored on validation; images of train that
are copies of, or of one group with, images of validation are left out. Without one, nested
cross-validation: each outer fold is scored by a head that never saw it, and whose parameters were
chosen by inner folds that never saw it either. The head kept learned from all images, and those
scored from (K - 1) / K of them: it is usually a little better than its figures. Either way the
choice is by mean log loss, which uses the whole probability and so is less noisy than accuracy when
images are few.

The probabilities scored and kept are those that the head will give: calibrated, each by a
temperature that was fitted without the image. It comes from what the inner folds held out, at the
parameters that they chose: no fit is made for it. With a validation split the images of validation
join them, for each half of these those of the other. Of several folds each takes its own inner ones
alone, and the kept head's temperature comes from all outer ones, at its own parameters. Where
nothing is searched there are no inner folds: then a fold has its temperature from the other folds,
whose heads learned from its images; it is blind to the image, and not wholly so to its label. Only
``ece_raw`` tells of probabilities before calibration.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import DataError
from ...progress import Progress, share, silent
from ...reprs import html_table
from ..heads.head import GridPoint, Head
from ..heads.registry import fit_grid, get_head, points, resolve
from ..table import Features
from .calibrate import (
    HeldOut,
    calibrate_head,
    cross_calibrate,
    fit_temperature,
    pooled,
)
from .ece import calibration_error
from .intervals import allow_for_folds, average_draws
from .metrics import Metric, confusion_matrix, image_loss, score
from .plan import Fit, Plan, make_plan

_TIMED = 2000  # rows that the kept head predicts to take its time


FEW_SHOT = ("max_per_class", "repeats")  # options that say what to learn from, as folds do


@dataclass(frozen=True)
class Recipe:
    """What fits the same head again, on whatever images.

    Attributes
    ----------
    model : str
    folds : int
    grid : dict of str to list, or None
        Candidates by parameter; None for the head's own.
    options : dict
        Fixed parameters of the head, and ``max_per_class`` and ``repeats`` of a few-shot run.
    """

    model: str
    folds: int = 5
    grid: dict[str, list[float]] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def few_shot(self) -> dict[str, Any]:
        """The options that say how much to learn from."""
        return {k: v for k, v in self.options.items() if k in FEW_SHOT}

    @property
    def fixed(self) -> dict[str, Any]:
        """The other options: the fixed parameters of the head."""
        return {k: v for k, v in self.options.items() if k not in FEW_SHOT}

    def evaluate(self, table: Features, seed: int, progress: Progress = silent) -> Evaluation:
        """Fit and score the head on a table: see `evaluate_head`."""
        return evaluate_head(
            table,
            self.model,
            n_folds=self.folds,
            seed=seed,
            grid=self.grid,
            progress=progress,
            **self.options,
        )


@dataclass(repr=False)
class Evaluation:
    """A head and what it is worth. M images were scored.

    Attributes
    ----------
    recipe : Recipe
        What fits the same head again.
    protocol : str
    head : predictor
        Fitted on all rows of `trained_on`, and calibrated.
    params : dict
        What was chosen for it.
    metrics : dict of str to Metric
    confusion : ndarray of shape (C, C), int
        Rows are true classes, columns predicted ones.
    rows : ndarray of shape (M,), int
        Rows of the table that were scored, in increasing order.
    fold : ndarray of shape (M,), int
        Which scored fit held each of them out.
    probabilities : ndarray of shape (M, C), float64
        Given by a head that had not seen the image, and calibrated by a temperature fitted without
        it.
    trained_on : ndarray of int
        Rows that the kept head learned from.
    seconds : float
        Of the whole evaluation.
    temperature : float
        What the kept head's probabilities were calibrated with.
    predict_seconds : float
        That the kept head takes for one image, its feature given, within a large batch.
    draws : ndarray of shape (R, M, C), float64, or None
        Of several draws of few images: the probabilities of each, the first ones first.
    """

    recipe: Recipe
    protocol: str
    head: Any
    params: dict[str, Any]
    metrics: dict[str, Metric]
    confusion: np.ndarray
    rows: np.ndarray
    fold: np.ndarray
    probabilities: np.ndarray
    trained_on: np.ndarray
    seconds: float
    temperature: float
    predict_seconds: float
    draws: np.ndarray | None = None

    def __repr__(self) -> str:
        accuracy = self.metrics["accuracy"]
        return (
            f"<Evaluation: {self.recipe.model}, accuracy {accuracy} of {len(self.rows)} images, "
            f"{self.protocol}>"
        )

    def _repr_html_(self) -> str:
        return html_table(repr(self), ("metric", "95% interval"), self.metrics.items())


def evaluate_head(
    table: Features,
    model: Any = "logreg",
    *,
    n_folds: int = 5,
    seed: int = 0,
    grid: dict[str, list[float]] | None = None,
    max_per_class: int | None = None,
    repeats: int | None = None,
    progress: Progress = silent,
    **params: Any,
) -> Evaluation:
    """Choose a head's parameters, fit it, and score it on images that it has not seen.

    Parameters
    ----------
    table : Features
    model : str or classifier, default="logreg"
        A name of `tlx.classify.heads.registry.heads`, or any classifier of scikit-learn's kind.
    n_folds, seed : int
        See `make_plan`.
    grid : dict, optional
        Candidates by parameter; by default the head's own. With a single point nothing is chosen,
        and there are no inner folds.
    max_per_class : int, optional
        Few-shot: learn from so many images of each class at most.
    repeats : int, optional
        With `max_per_class`: how many times the images are drawn, by default 5. The metrics are
        means over the draws (see `average_draws`); all else is of the first draw.
    progress : Progress, optional
        Told how much is done.
    **params
        Options of the head; one that is searched otherwise is fixed.

    Returns
    -------
    Evaluation

    Raises
    ------
    DataError
        If there are repeats without `max_per_class`, or fewer than one. Also see `make_plan`.
    FitError, UnknownNameError
        See `make_plan` and `tlx.classify.heads.registry.fit_grid`.
    """
    model = get_head(model)
    if max_per_class is None:
        if repeats is not None:
            raise DataError(
                f"{repeats} repeats of the same.",
                "Repeats draw few images anew: add --max-per-class 10, say.",
            )
        return _evaluate(table, model, n_folds, seed, grid, params, progress)
    repeats = 5 if repeats is None else repeats
    if repeats < 1:
        raise DataError(f"{repeats} repeats.", "Use --repeats 1 or more.")
    draws = [
        _evaluate(
            table,
            model,
            n_folds,
            seed,
            grid,
            params,
            share(progress, draw, 1, repeats),
            max_per_class,
            draw,
        )
        for draw in range(repeats)
    ]
    first = draws[0]
    few = {"max_per_class": max_per_class, "repeats": repeats}
    return replace(
        first,
        protocol=f"{first.protocol}, {max_per_class} a class, mean of {repeats} draws",
        metrics=average_draws([draw.metrics for draw in draws]),
        seconds=sum(draw.seconds for draw in draws),
        draws=np.stack([draw.probabilities for draw in draws]) if repeats > 1 else None,
        recipe=replace(first.recipe, options={**params, **few}),
    )


def _evaluate(
    table: Features,
    model: Head,
    n_folds: int,
    seed: int,
    grid: dict[str, list[float]] | None,
    params: dict[str, Any],
    progress: Progress,
    max_per_class: int | None = None,
    draw: int = 0,
) -> Evaluation:
    started = time.perf_counter()
    n_points = points(resolve(model, params, grid)[0])
    plan = make_plan(
        table, n_folds, seed, search=n_points > 1, max_per_class=max_per_class, draw=draw
    )
    also: dict[str, Any] = {"groups": table.groups, "seed": seed, "progress": progress, **params}
    weights = np.zeros((len(plan.fits), len(table)), np.float32)
    for weight, fit in zip(weights, plan.fits, strict=True):
        weight[fit.train] = 1
    chosen = _choose(
        table, plan, fit_grid(model, table.X, table.y, weights, grid, **also), n_points
    )

    rows = np.concatenate([plan.fits[k].held_out for k in plan.scored])
    order = np.argsort(rows)
    fold = np.repeat(np.arange(len(plan.scored)), [len(plan.fits[k].held_out) for k in plan.scored])
    raw = np.concatenate([chosen[k].proba[k] for k in plan.scored])
    rows, fold, raw = rows[order], fold[order], raw[order]
    y, groups = table.y[rows], table.groups[rows]

    def told(k: int, fits: list[int]) -> HeldOut:
        """Return classes and probabilities that fits held out at the point chosen for fit k."""
        parts = [(table.y[plan.fits[i].held_out], chosen[k].proba[i]) for i in fits]
        return pooled(parts) if parts else (y[:0], raw[:0])

    inner = [told(k, plan.fits[k].inner) for k in plan.scored]
    proba, _ = cross_calibrate(y, raw, fold, groups, seed, inner)
    kept = chosen[plan.kept]
    temperature = fit_temperature(*told(plan.kept, plan.calibrating(plan.kept)))
    head = calibrate_head(kept.head, temperature)
    metrics = {
        **score(y, proba, groups),
        "ece_raw": calibration_error(y, raw, groups),
        "ece": calibration_error(y, proba, groups),
    }
    return Evaluation(
        recipe=Recipe(model.name, n_folds, grid, params),
        protocol=plan.protocol,
        head=head,
        params={**params, **kept.params},
        metrics=allow_for_folds(metrics, len(plan.scored)),
        confusion=confusion_matrix(y, proba.argmax(axis=1), len(table.class_names)),
        rows=rows,
        fold=fold,
        probabilities=proba,
        trained_on=plan.fits[plan.kept].train,
        seconds=time.perf_counter() - started,
        temperature=temperature,
        predict_seconds=_predict_seconds(head, table.X[rows[:_TIMED]]),
    )


def _held_out(point: GridPoint, fit: int, rows: np.ndarray, table: Features) -> np.ndarray:
    """Return the probabilities of rows held out, seen as the run will see new images."""
    if table.X_tta is None:
        return point.proba(fit, rows)
    return point.head(fit).predict_proba(table.X_tta[rows])


def _predict_seconds(head: Any, X: np.ndarray) -> float:
    """Return the least time, a row, of predicting X at once: the first call is slow."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.05 and len(times) < 50):
        started = time.perf_counter()
        head.predict_proba(X)
        times.append(time.perf_counter() - started)
    return min(times) / len(X)


@dataclass
class _Chosen:
    """The point of the grid that is best for one fit so far.

    Attributes
    ----------
    loss : float
        What chose it; the least one.
    params : dict
    proba : dict of int to ndarray
        At this point, what the fit and those that calibrate it give their held-out rows.
    head : predictor or None
        Of the fit that is kept.
    """

    loss: float
    params: dict[str, Any]
    proba: dict[int, np.ndarray]
    head: Any


def _choose(
    table: Features, plan: Plan, path: Iterable[GridPoint], n_points: int
) -> dict[int, _Chosen]:
    """Choose a point of the grid for each fit that is scored or kept.

    It is that of the least mean log loss over the rows that the inner fits held out. Ties go to the
    stronger penalty, which comes first. Without inner fits (a class of a single image) nothing can
    be chosen, and the middle of the grid is taken. As points come one after the other, only the
    probabilities of the best ones so far are kept.
    """
    chosen: dict[int, _Chosen] = {}
    for number, point in enumerate(path):
        proba = [_held_out(point, k, fit.held_out, table) for k, fit in enumerate(plan.fits)]
        total = np.array([_loss(table, *each) for each in zip(plan.fits, proba, strict=True)])
        for k in {*plan.scored, plan.kept}:
            inner = plan.fits[k].inner
            loss = float(total[inner].sum()) if inner else abs(number - n_points // 2)
            if k not in chosen or loss < chosen[k].loss:
                kept = {i: proba[i] for i in {*plan.calibrating(k), k}}
                head = point.head(k) if k == plan.kept else None
                chosen[k] = _Chosen(loss, point.params, kept, head)
    return chosen


def _loss(table: Features, fit: Fit, proba: np.ndarray) -> float:
    """Return the sum of the log loss over the rows held out."""
    own = proba[np.arange(len(proba)), table.y[fit.held_out]]
    return float(image_loss(own).sum())
