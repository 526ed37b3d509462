"""Rank the runs of one data set: the same images, the same folds, paired tests.

Runs are comparable if each image was scored by a head that had learned from the same other images:
the runs' records of digests, labels and folds tell. Their features may differ, so backbones can be
compared too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..arguments import says_nearest_argument
from ..errors import DataError, FormatError, StorageError, UnknownNameError
from ..progress import Progress, share, silent
from ..reprs import html_table
from ..workspace import Workspace
from .heads.registry import heads
from .runs.best import load_run, runs_of, stands_for_itself
from .runs.run import Run, RunInfo
from .runs.store import by_age, save_evaluation, warn_of_damage
from .scoring.crossval import Recipe
from .scoring.metrics import Metric
from .scoring.paired import Difference, compare_paired, holm
from .sources import name_of

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc")
_LOWER_IS_BETTER = ("log_loss",)


@dataclass(frozen=True)
class ComparedRun:
    """One run in a comparison.

    Attributes
    ----------
    run : Run
    metric : Metric
        The metric that ranks.
    difference : Difference
        This run minus the best, on the same images; zeros and a p-value of 1 for the best itself.
        The p-value is corrected for the number of runs compared.
    """

    run: Run
    metric: Metric
    difference: Difference


@dataclass(frozen=True)
class LeftOut:
    """A run that cannot be compared with the others, and why; a copy of one need not be."""

    run: Run
    reason: str
    is_copy: bool = False


@dataclass(frozen=True, repr=False)
class Comparison:
    """Comparable runs, the best first.

    Attributes
    ----------
    metric : str
    dataset, protocol : str
    n : int
        Images that each run was scored on.
    rows : list of ComparedRun
    left_out : list of LeftOut
    refitted : dict of str to str
        New run by the old one in whose place it stands.
    """

    metric: str
    dataset: str
    protocol: str
    n: int
    rows: list[ComparedRun]
    left_out: list[LeftOut]
    refitted: dict[str, str]

    def __repr__(self) -> str:
        best = self.rows[0]
        return (
            f"<Comparison of {len(self.rows)} runs on {self.dataset!r} by {self.metric}: "
            f"{best.run.id!r} is first with {best.metric}; {self.n} images, {self.protocol}, "
            f"{len(self.left_out)} left out>"
        )

    def _repr_html_(self) -> str:
        rows = [
            (row.run.id, row.run.info.model, row.metric, f"{row.difference.value:+.4f}", _p(row))
            for row in self.rows
        ]
        rows += [(out.run.id, out.run.info.model, out.reason, "", "") for out in self.left_out]
        return html_table(repr(self), ("run", "model", self.metric, "difference", "p"), rows)

    @property
    def best(self) -> Run:
        """The run of the first row."""
        return self.rows[0].run


class _Scores:
    """What a run was scored on and what it said, in an order that does not depend on the run."""

    def __init__(self, run: Run) -> None:
        found = run.predictions()
        digest = np.ascontiguousarray(found.digest).view(">u8")  # (M, 4)
        order = np.lexsort((found.label, *digest.T[::-1]))
        self.run = run
        self.digest = digest[order]
        self.y = found.label[order]
        self.fold = found.fold[order]
        self.group = found.group[order]
        self.draws = found.all_draws[:, order]  # (R, M, C), R > 1 for a few-shot run
        self.trained_on = set(map(bytes, found.trained_on))

    def objection(self, reference: _Scores) -> str:
        """Return why the run cannot be compared with the reference, "" if it can."""
        mine, its = self.run.info, reference.run.info
        if self.lacks_draws:
            return f"a tlx of before kept the first of its {_repeats(self.run)} draws only"
        if mine.class_names != its.class_names:
            return f"its classes are {_names(mine)}, not {_names(its)}"
        if not np.array_equal(self.digest, reference.digest):
            images = [{row.tobytes() for row in s.digest} for s in (self, reference)]
            common = len(images[0] & images[1])
            return (
                f"scored on other images: {common} of its {len(self.digest)} are among the "
                f"{len(reference.digest)}"
            )
        relabelled = np.count_nonzero(self.y != reference.y)
        if relabelled:
            return f"{relabelled} images had other labels"
        if not np.array_equal(self.fold, reference.fold):
            if mine.protocol != its.protocol:
                return f"{mine.protocol} instead of {its.protocol}"
            return f"other folds (seed {mine.seed} instead of {its.seed})"
        if self.trained_on != reference.trained_on:
            counts = len(self.trained_on), len(reference.trained_on)
            return "it learned from other images ({} instead of {})".format(*counts)
        if len(self.draws) != len(reference.draws):
            return f"{len(self.draws)} draws instead of {len(reference.draws)}"
        return ""

    @property
    def lacks_draws(self) -> bool:
        """Whether its metrics are means over draws that its predictions do not hold."""
        return len(self.draws) < _repeats(self.run)

    def is_like(self, other: _Scores) -> bool:
        """Return whether it is the same head with the same predictions."""
        same = _recipe(self.run) == _recipe(other.run)
        return same and np.array_equal(self.draws, other.draws)


@says_nearest_argument
def compare_heads(
    runs: Run | str | Iterable[Run | str] | None = None,
    *,
    dataset: str | None = None,
    metric: str = "accuracy",
    refit: bool = False,
    workspace: str | os.PathLike[str] = ".tlx",
    resamples: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Rank runs on the same images and folds, with paired tests against the best.

    Parameters
    ----------
    runs : Run, str or iterable of them, optional
        By default all runs of the data set that can be compared with its newest one; the others
        are left out and named with the reason.
    dataset : str, optional
        By default the one embedded last. Ignored if `runs` are given.
    metric : {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc"}
        What ranks. Ties go to the lower log loss, then to the newer run.
    refit : bool, default=False
        Fit runs made on other folds or images again, on those of the newest, instead of refusing
        them or leaving them out. The new runs are kept.
    workspace : path, default=".tlx"
    resamples, seed : int
        Of the bootstrap, which every metric but the accuracy needs.
    progress : Progress, optional
        Told how much of the fitting is done.

    Returns
    -------
    Comparison

    Raises
    ------
    UnknownNameError
        If there is no such run, data set or metric.
    DataError
        If there are no runs, a run named cannot be compared, or it cannot be fitted again.

    Notes
    -----
    The accuracy is tested by McNemar's exact test (by sign flips of whole groups where images are
    dependent), the other metrics by a paired bootstrap of groups: see
    `tlx.classify.scoring.paired`. The figures of few-shot runs are means over the draws of their
    training images, and so are the differences that are tested.
    Of runs with the same recipe and the same predictions the newest counts, the others are left
    out.
    p-values are corrected by Holm's method for the number of runs compared with the best; the
    intervals of the differences are 95% each. Both are about these heads on other images, and do
    not allow for heads fitted anew on other training images. The best is the best of these images,
    so its own figure is a little too good, the more so the more runs there are: score it on a test
    split.

    Examples
    --------
    >>> import tlx
    >>> fitted = tlx.fit_heads(["logreg", "lda"])
    >>> comparison = tlx.compare_heads()
    >>> len(comparison.rows), comparison.n
    (2, 24)
    >>> comparison.best.id == comparison.rows[0].run.id
    True
    """
    if metric not in METRICS:
        raise UnknownNameError.nearest("metric", metric, METRICS)
    workspace = Workspace(workspace)
    named = runs is not None
    if isinstance(runs, Run | str):
        runs = [runs]
    candidates = _distinct(runs, workspace) if runs is not None else runs_of(workspace, dataset)
    scored, damaged = _read(candidates, raises=named)
    reference = ([s for s in scored if not s.lacks_draws] or scored)[-1]
    refitted: dict[str, str] = {}
    if refit:
        scored, reference, refitted = _refit(workspace, scored, reference, progress)
    objections = [s.objection(reference) for s in scored]
    group = [s for s, why in zip(scored, objections, strict=True) if not why]
    twins = {
        _recipe(s.run): f"the same head as {s.run.id}"
        for s in group
        if refit and _can_be_refitted(s.run)
    }
    left_out = [*damaged] + [
        LeftOut(s.run, twins.get(_recipe(s.run), why))
        for s, why in zip(scored, objections, strict=True)
        if why and s.run.id not in refitted
    ]
    refused = [out for out in left_out[len(damaged) :] if not (refit and _can_be_refitted(out.run))]
    if named and refused:
        run = refused[0].run
        raise DataError(
            f"run {run.id} cannot be compared with {reference.run.id}: {refused[0].reason}.",
            "Add --refit to fit it again on the same images and folds, or leave it out."
            if _can_be_refitted(run)
            else f"A {run.info.model} run cannot be fitted again: leave it out.",
        )
    if not group:
        raise DataError(
            f"run {reference.run.id} has nothing to compare: {objections[-1]}.",
            "Add --refit to fit it again.",
        )
    group, copies = _without_copies(group)
    left_out += copies
    return Comparison(
        metric=metric,
        dataset=reference.run.info.dataset,
        protocol=reference.run.info.protocol,
        n=len(reference.y),
        rows=_rank(group, metric, resamples, seed),
        left_out=left_out,
        refitted=refitted,
    )


def _distinct(runs: Iterable[Run | str], workspace: str | os.PathLike[str]) -> list[Run]:
    loaded = [load_run(run, workspace) if isinstance(run, str) else run for run in runs]
    unique = list({run.folder.resolve(): run for run in loaded}.values())
    if not unique:
        raise DataError("no runs to compare.", "Name some, or none to compare all.")
    return sorted(unique, key=by_age)


def _read(runs: list[Run], *, raises: bool) -> tuple[list[_Scores], list[LeftOut]]:
    """Read the predictions of runs; the damaged ones are told and left out unless `raises`."""
    scored, damaged = [], []
    for run in runs:
        try:
            scored.append(_Scores(run))
        except (FormatError, StorageError) as error:
            if raises or len(damaged) + 1 == len(runs):
                raise
            warn_of_damage(run.id, error)
            damaged.append(LeftOut(run, f"damaged: {error.cause}"))
    return scored, damaged


def _p(row: ComparedRun) -> str:
    return f"{row.difference.p_value:.3g}" if row.difference.p_value < 1 else ""


def _rank(scored: Sequence[_Scores], metric: str, resamples: int, seed: int) -> list[ComparedRun]:
    missing = [s.run.id for s in scored if metric not in s.run.metrics]
    if missing:
        raise DataError(
            f"run {missing[0]} has no {metric}.", f"Choose another metric: {', '.join(METRICS)}."
        )
    ordered = sorted(scored, key=lambda s: _merit(s.run, metric), reverse=True)
    best = ordered[0]
    differences = [
        compare_paired(
            metric,
            best.y,
            s.draws,
            best.draws,
            best.group,
            resamples=resamples,
            seed=seed,
        )
        for s in ordered[1:]
    ]
    corrected = holm([d.p_value for d in differences])
    rows = [ComparedRun(best.run, best.run.metrics[metric], Difference(0.0, 0.0, 0.0, 1.0))]
    for s, d, p in zip(ordered[1:], differences, corrected, strict=True):
        rows.append(
            ComparedRun(s.run, s.run.metrics[metric], Difference(d.value, d.low, d.high, p))
        )
    return rows


def _merit(run: Run, metric: str) -> tuple[float, bool, float, str]:
    """Return what ranks a run, by the digits that are shown.

    Of equals one that only kept another's head comes last: its numbers are that head's but for the
    rounding of the network that computed them.
    """
    value = round(run.metrics[metric].value, 4)
    sign = -1 if metric in _LOWER_IS_BETTER else 1
    loss = run.metrics["log_loss"].value
    return sign * value, stands_for_itself(run), -loss, run.info.created


def _names(info: RunInfo) -> str:
    return ", ".join(info.class_names[:8])


def _recipe(run: Run) -> str:
    """Return what tells one head from another, whatever it was fitted on."""
    own = run.info.recipe
    recipe = (
        run.info.model,
        name_of(run.sources),
        run.info.views,
        run.info.tta,
        (own.grid, own.fixed) if own else None,
    )
    return repr(recipe)


def _refit(
    workspace: Workspace, scored: list[_Scores], reference: _Scores, progress: Progress
) -> tuple[list[_Scores], _Scores, dict[str, str]]:
    """Fit the runs that cannot be compared again; all of them if the data set itself changed.

    A run whose like can be compared already is not fitted again.
    """
    refitted: dict[str, str] = {}
    present = {_recipe(s.run) for s in scored if not s.objection(reference)}
    out = list(scored)

    def again(s: _Scores) -> _Scores:
        total = max(len(todo), len(refitted) + 1)
        part = share(progress, len(refitted), 1, total)
        new = _Scores(_fit_again(workspace, s.run, reference, part))
        refitted[s.run.id] = new.run.id
        present.add(_recipe(s.run))
        out.append(new)
        return new

    new = None
    able = [s for s in scored if _can_be_refitted(s.run)]
    todo = {_recipe(s.run) for s in able if s.objection(reference)} - present
    for s in able:
        if s.objection(reference) and _recipe(s.run) not in present:
            new = again(s)
    if new is not None and new.objection(reference):  # the images have changed since
        present = {_recipe(s.run) for s in out if not s.objection(new)}
        for s in able:
            if s.objection(new) and _recipe(s.run) not in present:
                again(s)
        reference = new
    return out, reference, refitted


def _repeats(run: Run) -> int:
    """Return over how many draws of its training images a run's metrics are means."""
    return run.info.recipe.few_shot.get("repeats", 1) if run.info.recipe else 1


def _without_copies(scores: Sequence[_Scores]) -> tuple[list[_Scores], list[LeftOut]]:
    """Return runs that differ, the newest of those that do not, and the others as left out.

    The same command twice gives the same run twice. Counted twice, it would be one more comparison
    to correct for, and make every other p-value larger.
    """
    kept: list[_Scores] = []
    copies = []
    for s in reversed(scores):
        twin = next((k for k in kept if s.is_like(k)), None)
        if twin is None:
            kept.append(s)
        else:
            copies.append(LeftOut(s.run, f"the same as {twin.run.id}", is_copy=True))
    return kept[::-1], copies[::-1]


def _can_be_refitted(run: Run) -> bool:
    return run.info.model in heads() and run.info.recipe is not None


def _fit_again(workspace: Workspace, run: Run, like: _Scores, progress: Progress) -> Run:
    from .table import load_table

    its, recipe = like.run.info, run.info.recipe
    assert recipe is not None, "who calls this has asked"
    features = name_of(run.info.sources)
    table = load_table(workspace, its.dataset, features, views=run.info.views, tta=run.info.tta)
    # A fine-tuning holds images out by itself where the data set has no validation split.
    is_split = not _can_be_refitted(like.run) and not np.any(table.split == "validation")
    if is_split:
        held_out = set(map(bytes, like.digest))
        held = np.array([bytes(row) in held_out for row in table.digest])
        table = replace(table, split=np.where(held, "validation", "train"))
    target = its.recipe or Recipe(its.model)
    recipe = replace(recipe, folds=target.folds, options={**recipe.fixed, **target.few_shot})
    evaluation = recipe.evaluate(table, its.seed, progress)
    if is_split:
        evaluation = replace(evaluation, protocol=its.protocol)
    return save_evaluation(workspace, table, evaluation, seed=its.seed)
