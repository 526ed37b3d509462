"""Honest numbers: which rows a head learns from, which it is scored on, and how C is chosen.

With a validation split, a head is trained on train and scored on validation; images of train that
are copies of, or of one group with, images of validation are left out. Without one, nested
cross-validation: each outer fold is scored by a head that never saw it, and whose parameters were
chosen by inner folds that never saw it either. Either way the choice is by mean log loss, which
uses the whole probability and so is less noisy than accuracy when images are few.

The probabilities scored and kept are those that the head will give: calibrated, each by a
temperature that was fitted without the image. Only ``ece_raw`` tells of those before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import DataError, FitError
from ...progress import Progress, share, silent
from ...reprs import html_table
from ..folds import groups_per_class, stratified_group_folds
from ..heads.head import Head
from ..heads.registry import fit_grid, get_head, points, resolve
from ..table import FeatureTable
from .calibrate import calibrate_head, calibration_error, cross_calibrate
from .metrics import Metric, confusion_matrix, image_loss, score

_TIMED = 2000  # rows that the kept head predicts to take its time


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

    def evaluate(self, table: FeatureTable, seed: int, progress: Progress = silent) -> Evaluation:
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


def make_plan(
    table: FeatureTable,
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
    table : FeatureTable
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
            inner = [add(a, b, []) for a, b in _inner_folds(table, train, n_folds, seed + 1)]
        fits.append(Fit(train, held_out, inner))
        return len(fits) - 1

    everything = np.arange(len(table))
    plain = table.view == 0
    if (table.split == "validation").any():
        train, validation = divide_by_split(table.split, table.groups)
        _check_validation(table, train, validation)
        kept = add(everything[train], everything[validation & plain])
        protocol = "validation split"
        shared = np.count_nonzero(~validation & ~train)
        if shared:
            protocol += f", {shared} train images left out that are in validation too"
        return Plan(protocol, fits, [kept], kept)
    fold = stratified_group_folds(table.y, table.groups, n_folds, seed, table.class_names)
    outer = [add(everything[fold != k], everything[(fold == k) & plain]) for k in range(n_folds)]
    # The outer folds choose for the head that is kept, unless it learns from far fewer images.
    kept = add(everything, everything[:0], outer if max_per_class is None else None)
    return Plan(f"nested {n_folds}-fold" if search else f"{n_folds}-fold", fits, outer, kept)


def divide_by_split(split: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows the head that is kept learns from, and which are scored.

    With a validation split, that is scored, and rows of its groups are not learned from. Without
    one, folds let every row be both.

    Parameters
    ----------
    split : ndarray of shape (N,), str
    groups : ndarray of shape (N,), int

    Returns
    -------
    train, held_out : ndarray of shape (N,), bool
    """
    validation = split == "validation"
    if not validation.any():
        return np.ones(len(split), bool), np.ones(len(split), bool)
    return ~validation & ~np.isin(groups, groups[validation]), validation


def evaluate_head(
    table: FeatureTable,
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
    table : FeatureTable
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


def average_draws(draws: list[dict[str, Metric]]) -> dict[str, Metric]:
    """Return the mean of each metric over draws of the training images, and its 95% interval.

    Two things are random: which images were drawn to learn from, and which there are to score. For
    R draws with values v_r the first has a standard error of std(v) / sqrt(R), and Student's t with
    R - 1 degrees of freedom gives it a half width. The half width of the second is the mean one of
    the intervals of single draws (the same images are scored each time, so averaging does not
    shrink it). The two are independent, so their squares add. As a single draw's interval holds
    some of the chance of its drawing, the sum is rather too wide than too narrow. Of one draw it
    can say nothing but the second.

    Parameters
    ----------
    draws : list of R dict
        A metric that some draw lacks is left out.
    """
    from scipy.special import stdtrit

    R = len(draws)
    out = {}
    for name in draws[0]:
        if not all(name in draw for draw in draws):
            continue
        values = np.array([draw[name].value for draw in draws])
        value = float(values.mean())
        below = float(np.mean([draw[name].value - draw[name].low for draw in draws]))
        above = float(np.mean([draw[name].high - draw[name].value for draw in draws]))
        drawn = 0.0 if R == 1 else float(stdtrit(R - 1, 0.975) * values.std(ddof=1) / np.sqrt(R))
        high = value + float(np.hypot(above, drawn))
        bounded = name != "log_loss"
        low = max(0.0, value - float(np.hypot(below, drawn)))
        out[name] = Metric(value, low, min(1.0, high) if bounded else high)
    return out


def _evaluate(
    table: FeatureTable,
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
    search = points(resolve(model, params, grid)[0]) > 1
    plan = make_plan(table, n_folds, seed, search=search, max_per_class=max_per_class, draw=draw)
    weights = np.zeros((len(plan.fits), len(table)), np.float32)
    for weight, fit in zip(weights, plan.fits, strict=True):
        weight[fit.train] = 1

    steps: list[dict[str, Any]] = []
    losses: list[list[float]] = []  # (steps, fits)
    probabilities: list[dict[int, np.ndarray]] = []  # of the scored fits, by step
    heads = []
    also: dict[str, Any] = {"groups": table.groups, "seed": seed, "progress": progress, **params}
    for step in fit_grid(model, table.X, table.y, weights, grid, **also):
        proba = [step.proba(k, p.held_out) for k, p in enumerate(plan.fits)]
        losses.append([_loss(table, p, q) for p, q in zip(plan.fits, proba, strict=True)])
        probabilities.append({k: proba[k] for k in plan.scored})
        heads.append(step.head(plan.kept))
        steps.append(step.params)

    chosen = [_choose(np.array(losses), plan, fit) for fit in plan.fits]
    rows = np.concatenate([plan.fits[k].held_out for k in plan.scored])
    order = np.argsort(rows)
    fold = np.concatenate(
        [np.full(len(plan.fits[k].held_out), i) for i, k in enumerate(plan.scored)]
    )[order]
    raw = np.concatenate([probabilities[chosen[k]][k] for k in plan.scored])[order]
    rows = rows[order]
    y, groups = table.y[rows], table.groups[rows]
    proba, temperature = cross_calibrate(y, raw, fold, groups, seed)
    head = calibrate_head(heads[chosen[plan.kept]], temperature)
    return Evaluation(
        recipe=Recipe(model.name, n_folds, grid, params),
        protocol=plan.protocol,
        head=head,
        params={**params, **steps[chosen[plan.kept]]},
        metrics={
            **allow_for_folds(score(y, proba, groups), len(plan.scored)),
            "ece_raw": calibration_error(y, raw, groups),
            "ece": calibration_error(y, proba, groups),
        },
        confusion=confusion_matrix(y, proba.argmax(axis=1), len(table.class_names)),
        rows=rows,
        fold=fold,
        probabilities=proba,
        trained_on=plan.fits[plan.kept].train,
        seconds=time.perf_counter() - started,
        temperature=temperature,
        predict_seconds=_predict_seconds(head, table.X[rows[:_TIMED]]),
    )


def allow_for_folds(metrics: dict[str, Metric], n_folds: int) -> dict[str, Metric]:
    """Widen intervals for what the folds of cross-validation share.

    Each of two images in different folds is learned from when the other is scored, so their errors
    go together, and an interval that takes them for independent is too narrow: with random labels
    it held chance in 87 of 100 data sets. There is no unbiased estimate of that variance [1]_.
    Nadeau and Bengio [2]_ take the correlation of two folds to be the share 1 / K of an image set
    that one fold is. The mean of K folds, each of variance s, then has the variance
    ``s / K * (1 + (K - 1) / K)``: half widths grow by the root of the last factor, 1.34 for K = 5.
    For a head that hardly changes with its training images this is wider than need be.

    Parameters
    ----------
    metrics : dict of str to Metric
        With intervals for independent images or groups.
    n_folds : int
        K; nothing changes for 1, a validation split.

    Returns
    -------
    dict of str to Metric

    References
    ----------
    .. [1] Y. Bengio, Y. Grandvalet (2004), No unbiased estimator of the variance of K-fold
       cross-validation, Journal of Machine Learning Research 5.
    .. [2] C. Nadeau, Y. Bengio (2003), Inference for the generalization error, Machine Learning 52.
    """
    factor = float(np.sqrt(1 + (n_folds - 1) / n_folds))
    return {name: _widen(name, metric, factor) for name, metric in metrics.items()}


def _widen(name: str, metric: Metric, factor: float) -> Metric:
    value, low, high = metric.value, metric.low, metric.high
    if name == "log_loss":  # its interval is symmetric on the log scale
        if low <= 0:
            return metric
        return Metric(value, value * (low / value) ** factor, value * (high / value) ** factor)
    return Metric(
        value,
        max(0.0, value - factor * (value - low)),
        min(1.0, value + factor * (high - value)),
    )


def _predict_seconds(head: Any, X: np.ndarray) -> float:
    """Return the least time, a row, of predicting X at once: the first call is slow."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.05 and len(times) < 50):
        started = time.perf_counter()
        head.predict_proba(X)
        times.append(time.perf_counter() - started)
    return min(times) / len(X)


def _first_of_each_class(
    table: FeatureTable, rows: np.ndarray, order: np.ndarray, n: int
) -> np.ndarray:
    """Return those of `rows` whose image is among the first n of its class in `order`."""
    allowed = np.zeros(len(table), bool)
    allowed[rows] = table.view[rows] == 0
    order = order[allowed[order]]
    y = table.y[order]
    drawn = np.sort(np.concatenate([order[y == k][:n] for k in np.unique(y)]))
    if not table.view.any():
        return drawn
    paths = {table.path[row] for row in drawn}  # their augmented views come along
    return np.array([row for row in rows if table.path[row] in paths])


def _inner_folds(
    table: FeatureTable, train: np.ndarray, n_folds: int, seed: int
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


def _choose(losses: np.ndarray, plan: Plan, fit: Fit) -> int:
    """Return the step with the least mean log loss over the rows that the inner fits held out.

    Without inner fits (a class of a single image) nothing can be chosen, and the middle of the
    grid is taken. Ties go to the stronger penalty, which comes first.
    """
    if not fit.inner:
        return len(losses) // 2
    sizes = np.array([len(plan.fits[k].held_out) for k in fit.inner])
    return int((losses[:, fit.inner] @ sizes).argmin())


def _loss(table: FeatureTable, fit: Fit, proba: np.ndarray) -> float:
    """Return the mean log loss on the rows held out; 0 if there are none."""
    if not len(proba):
        return 0.0
    own = proba[np.arange(len(proba)), table.y[fit.held_out]]
    return float(image_loss(own).mean())


def _check_validation(table: FeatureTable, train: np.ndarray, validation: np.ndarray) -> None:
    """Refuse a validation split with a class that train lacks."""
    unseen = set(table.y[validation]) - set(table.y[train])
    if unseen:
        names = ", ".join(repr(table.class_names[label]) for label in sorted(unseen))
        raise DataError(
            f"the validation split has classes that train lacks: {names}.",
            "Give train images of them (copies of validation images do not count), or remove them "
            "from validation.",
        )
