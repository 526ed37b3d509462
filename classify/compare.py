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
from .duplicates import handle_duplicates
from .heads.registry import heads
from .ranking import ComparedRun, check_rope, rank_runs
from .runs.best import load_run, runs_of
from .runs.run import Run
from .runs.scored import Scored
from .runs.store import by_age, save_evaluation, warn_of_damage
from .scoring.crossval import Recipe
from .scoring.metrics import METRICS, Metric
from .scoring.selection import correct_for_choice
from .sources import name_of


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
    best_corrected : Metric
        The metric of the best without what choosing it among the others adds: see
        `tlx.classify.scoring.selection`.
    pairs : int
        Pairs of runs that differ, for which p-values are corrected.
    rope : float
        Differences up to this were taken not to matter.
    left_out : list of LeftOut
    refitted : dict of str to str
        New run by the old one in whose place it stands.
    """

    metric: str
    dataset: str
    protocol: str
    n: int
    rows: list[ComparedRun]
    best_corrected: Metric
    pairs: int
    rope: float
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
            (
                row.run.id,
                row.run.info.model,
                row.metric,
                f"{row.difference.value:+.4f}",
                row.verdict,
            )
            for row in self.rows
        ]
        rows += [(out.run.id, out.run.info.model, out.reason, "", "") for out in self.left_out]
        return html_table(repr(self), ("run", "model", self.metric, "difference", "verdict"), rows)

    @property
    def best(self) -> Run:
        """The run of the first row."""
        return self.rows[0].run


@says_nearest_argument
def compare_heads(
    runs: Run | str | Iterable[Run | str] | None = None,
    *,
    dataset: str | None = None,
    metric: str = "accuracy",
    rope: float = 0.01,
    refit: bool = False,
    workspace: str | os.PathLike[str] = ".tlx",
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
    rope : float, default=0.01
        Region of practical equivalence: differences that do not matter, 0.01 for one point. Of the
        log loss it is 0.01 nats.
    refit : bool, default=False
        Fit runs made on other folds or images again, on those of the newest, instead of refusing
        them or leaving them out. The new runs are kept.
    workspace : path, default=".tlx"
    seed : int, default=0
        Of the resamples that say what choosing the best adds.
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
    Differences are tested by random signs of what images add to them, which for the accuracy is
    McNemar's exact test: see `tlx.classify.scoring.paired`. The figures of few-shot runs are means
    over the draws of their training images, and so are the differences that are tested.
    Of runs with the same recipe and the same predictions the newest counts, the others are left
    out.
    p-values are corrected by Holm's method for all pairs of runs, since the best was chosen by the
    same images; the intervals of the differences are 95% each. Of folds both allow for the training
    images that these share; of a validation split they are about these heads on other images. The
    best is the best of these images, so its own figure is too good, the more so the more runs there
    are: `Comparison.best_corrected` is its figure without that.

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
    rope = check_rope(rope)
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
        s.recipe: f"the same head as {s.run.id}" for s in group if refit and _can_be_refitted(s.run)
    }
    left_out = [*damaged] + [
        LeftOut(s.run, twins.get(s.recipe, why))
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
    return _comparison(group, reference, metric, rope, seed, left_out, refitted)


def _comparison(
    group: list[Scored],
    like: Scored,
    metric: str,
    rope: float,
    seed: int,
    left_out: list[LeftOut],
    refitted: dict[str, str],
) -> Comparison:
    rows, corrected, pairs = rank_runs(
        [s.run for s in group],
        [s.draws for s in group],
        like.y,
        like.group,
        metric=metric,
        rope=rope,
        n_folds=len(np.unique(like.fold)),
        seed=seed,
    )
    return Comparison(
        metric=metric,
        dataset=like.run.info.dataset,
        protocol=like.run.info.protocol,
        n=len(like.y),
        rows=rows,
        best_corrected=corrected,
        pairs=pairs,
        rope=rope,
        left_out=left_out,
        refitted=refitted,
    )


def correct_run(
    run: Run, workspace: str | os.PathLike[str] = ".tlx", *, by: str = "log_loss"
) -> tuple[Metric, int]:
    """Return a run's accuracy without what choosing it adds, and among how many it was chosen.

    Parameters
    ----------
    run : Run
    workspace : path, default=".tlx"
        All its runs that can be compared with this one were to choose among.
    by : str, default="log_loss"
        The metric that chose, as it does ``"best"``.

    Raises
    ------
    FormatError, StorageError
        If its predictions cannot be read.

    Examples
    --------
    >>> import tlx
    >>> fitted = tlx.fit_heads(["logreg", "lda"])
    >>> accuracy, among = correct_run(tlx.load_run("best"))
    >>> among
    2
    """
    mine = Scored(run)
    others, _ = _read(runs_of(Workspace(workspace), run.info.dataset), raises=False)
    others = [s for s in others if s.run.id != run.id and not s.objection(mine)]
    chosen = [mine, *(s for s in _without_copies(others)[0] if not s.is_like(mine))]
    accuracy = run.metrics["accuracy"]
    draws = [s.draws for s in chosen]
    return correct_for_choice(accuracy, mine.y, draws, mine.group, by=by), len(chosen)


def _distinct(runs: Iterable[Run | str], workspace: str | os.PathLike[str]) -> list[Run]:
    loaded = [load_run(run, workspace) if isinstance(run, str) else run for run in runs]
    unique = list({run.folder.resolve(): run for run in loaded}.values())
    if not unique:
        raise DataError("no runs to compare.", "Name some, or none to compare all.")
    return sorted(unique, key=by_age)


def _read(runs: list[Run], *, raises: bool) -> tuple[list[Scored], list[LeftOut]]:
    """Read the predictions of runs; the damaged ones are told and left out unless `raises`."""
    scored, damaged = [], []
    for run in runs:
        try:
            scored.append(Scored(run))
        except (FormatError, StorageError) as error:
            if raises or len(damaged) + 1 == len(runs):
                raise
            warn_of_damage(run.id, error)
            damaged.append(LeftOut(run, f"damaged: {error.cause}"))
    return scored, damaged


def _refit(
    workspace: Workspace, scored: list[Scored], reference: Scored, progress: Progress
) -> tuple[list[Scored], Scored, dict[str, str]]:
    """Fit the runs that cannot be compared again; all of them if the data set itself changed.

    A run whose like can be compared already is not fitted again.
    """
    refitted: dict[str, str] = {}
    present = {s.recipe for s in scored if not s.objection(reference)}
    out = list(scored)

    def again(s: Scored) -> Scored:
        total = max(len(todo), len(refitted) + 1)
        part = share(progress, len(refitted), 1, total)
        new = Scored(_fit_again(workspace, s.run, reference, part))
        refitted[s.run.id] = new.run.id
        present.add(s.recipe)
        out.append(new)
        return new

    new = None
    able = [s for s in scored if _can_be_refitted(s.run)]
    todo = {s.recipe for s in able if s.objection(reference)} - present
    for s in able:
        if s.objection(reference) and s.recipe not in present:
            new = again(s)
    if new is not None and new.objection(reference):  # the images have changed since
        present = {s.recipe for s in out if not s.objection(new)}
        for s in able:
            if s.objection(new) and s.recipe not in present:
                again(s)
        reference = new
    return out, reference, refitted


def _without_copies(scores: Sequence[Scored]) -> tuple[list[Scored], list[LeftOut]]:
    """Return runs that differ, the newest of those that do not, and the others as left out.

    The same command twice gives the same run twice. Counted twice, it would be one more comparison
    to correct for, and make every other p-value larger.
    """
    kept: list[Scored] = []
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


def _fit_again(workspace: Workspace, run: Run, like: Scored, progress: Progress) -> Run:
    from .table import load_table

    its, recipe = like.run.info, run.info.recipe
    assert recipe is not None, "who calls this has asked"
    features = name_of(run.info.sources)
    table = load_table(workspace, its.dataset, features, views=run.info.views, tta=run.info.tta)
    tuned, dealt = not _can_be_refitted(like.run), its.params.get("folds")
    # A fine-tuning without folds holds images out by itself if there is no validation split.
    is_split = tuned and not dealt and not np.any(table.split == "validation")
    if is_split:
        held_out = set(map(bytes, like.digest))
        held = np.array([bytes(row) in held_out for row in table.digest])
        table = replace(table, split=np.where(held, "validation", "train"))
    handling = its.near_duplicates.handling if its.near_duplicates else "ignore"
    (table,), near = handle_duplicates(workspace, [table], handling, its.sources)
    target = its.recipe or (Recipe(its.model, dealt) if tuned and dealt else Recipe(its.model))
    recipe = replace(recipe, folds=target.folds, options={**recipe.fixed, **target.protocol})
    evaluation = recipe.evaluate(table, its.seed, progress)
    if is_split:
        evaluation = replace(evaluation, protocol=its.protocol)
    return save_evaluation(workspace, table, evaluation, seed=its.seed, near=near)
