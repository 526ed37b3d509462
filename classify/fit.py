"""Fit heads on the cached features of a data set and keep them as runs."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arguments import says_nearest_argument
from ..embed.cluster import Cluster
from ..errors import DataError, FitError, TlxError, UnknownNameError
from ..progress import Progress, share, silent
from ..reprs import html_table, listed
from ..workspace import Workspace, several
from .duplicates import Duplicates, check_handling, handle_duplicates
from .heads.external import is_estimator
from .heads.registry import ALIASES, heads, resolve
from .heads.saved_estimator import confirmed, import_skops
from .layers import load_candidates
from .runs.run import Run
from .runs.store import check_name, save_evaluation
from .scoring.crossval import Evaluation, evaluate_head
from .scoring.metrics import Metric
from .scoring.selection import correct_for_choice
from .spread import FAILURES, Asked, evaluate_on, in_words
from .table import Features


@dataclass(frozen=True, repr=False)
class HeadsFit:
    """What fitting several heads left.

    Attributes
    ----------
    runs : list of Run
        The most accurate first; ties go to the lower log loss.
    failures : dict of str to TlxError
        Why heads could not be fitted, by model.
    seconds : float
        Wall time of them all.
    best_corrected : Metric
        The accuracy of the first run without what choosing it among the others adds: see
        `tlx.classify.scoring.selection`.
    """

    runs: list[Run]
    failures: dict[str, TlxError]
    seconds: float
    best_corrected: Metric

    def __repr__(self) -> str:
        runs = listed([f"{run.id} {run.metrics['accuracy'].value:.4f}" for run in self.runs])
        failed = f"; failed: {listed(self.failures)}" if self.failures else ""
        return f"<HeadsFit: accuracy {runs}{failed}>"

    def _repr_html_(self) -> str:
        rows = [(r.id, r.metrics["accuracy"], r.metrics["log_loss"]) for r in self.runs]
        rows += [(model, error, "") for model, error in self.failures.items()]
        return html_table(repr(self), ("run", "accuracy", "log loss"), rows)


@says_nearest_argument
def fit_head(
    model: Any = "logreg",
    *,
    dataset: str | None = None,
    features: str | None = None,
    views: int = 0,
    tta: int = 0,
    allow_missing: bool = False,
    workspace: str | os.PathLike[str] = ".tlx",
    folds: int = 5,
    seed: int = 0,
    name: str | None = None,
    max_per_class: int | None = None,
    repeats: int | None = None,
    repeats_cv: int | None = None,
    near_duplicates: str = "ignore",
    trusted: Iterable[str] | None = None,
    progress: Progress = silent,
    **params: Any,
) -> Run:
    """Fit a head on cached features, score it honestly, and keep it as a run.

    Parameters
    ----------
    model : str or classifier, default="logreg"
        A name of `tlx.classify.heads.registry.heads`, ``"auto"`` for the one that needs no choice
        (``"vote"``), or any classifier of scikit-learn's kind. The latter is cloned for each fold;
        its run keeps the predictions and takes part in `compare_heads`, but predicts only if it is
        saved: see `trusted`.
    dataset : str, optional
        Name of the data set; by default the one embedded last.
    features : str, optional
        A backbone's name, or the first digits of a fingerprint; several joined by ``+`` put their
        features side by side. By default the spec embedded last. ``NAME@mean-views`` is the mean
        embedding of an image and all its augmented views that are cached, ``NAME@mean-views:3`` of
        three: so images are learned from, scored and predicted. ``"auto"`` chooses among the layers
        of the backbone embedded last that are cached: the last one alone, unless another, or all
        of them side by side, lose less by more than two standard errors. Each scored fit chooses
        for itself, by inner folds, so the figures allow for the choice; the run's
        ``info.features_chosen`` tells it.
    views : int, default=0
        Learn from so many augmented views of each image as well; only plain images are scored.
    tta : int, default=0
        Test-time augmentation: learn from single images, and score held-out ones by the mean
        embedding of the plain image and of so many cached views, as the run then predicts. A
        linear head's logits are so averaged.
    allow_missing : bool, default=False
        Go on without the images that have no features yet.
    workspace : path, default=".tlx"
    folds : int, default=5
        Folds of cross-validation, if the data set has no validation split.
    seed : int, default=0
        Of the folds and of all else that is random.
    name : str, optional
        Of the run.
    max_per_class, repeats : int, optional
        Few-shot: see `tlx.classify.scoring.crossval.evaluate_head`.
    repeats_cv : int, optional
        Deal the folds anew so many times, and tell the means.
    near_duplicates : {"ignore", "group"}, default="ignore"
        ``"group"`` keeps near-duplicates of each other on one side, like copies of one file. Either
        way ``run.info.near_duplicates`` tells how many are on both.
    trusted : iterable of str, optional
        Only for a classifier of scikit-learn's kind: the types that it is made of, so that it is
        saved without pickle, which takes the extra ``skops``. A run that was fitted without this
        says which they are. `load_run` asks for them again.
    progress : Progress, optional
        Told how much is done.
    **params
        Options of the head (`tlx.classify.heads.registry.heads` lists them), such as
        ``class_weight``. One that is searched otherwise, such as ``C``, is fixed.

    Returns
    -------
    Run

    Raises
    ------
    UnknownNameError
        If there is no such model, data set or fingerprint.
    DataError
        If nothing is embedded, there are no labels, features are missing, or a class has fewer
        images than folds.
    FitError
        If there is one class only, or the head has no such option.
    MissingExtraError
        If `trusted` is given and skops is not installed.

    Examples
    --------
    >>> import tlx
    >>> run = tlx.fit_head("lda")
    >>> run.metrics["accuracy"].value
    1.0
    >>> run.info.protocol
    'nested 5-fold'
    """
    workspace = Workspace(workspace)
    _check(model, params)
    check_handling(near_duplicates)
    if trusted is not None:
        trusted = _confirmed(model, trusted)
    check_name(workspace, name)
    tables = load_candidates(
        workspace, dataset, features, views=views, tta=tta, allow_missing=allow_missing
    )
    tables, near = handle_duplicates(workspace, tables, near_duplicates)
    how = {"max_per_class": max_per_class, "repeats": repeats, "repeats_cv": repeats_cv}
    options = {**params, **how, "progress": progress}
    return _fit(workspace, tables, near, model, folds, seed, name, options, trusted)


@says_nearest_argument
def fit_heads(
    models: Sequence[str] | str = "all",
    *,
    dataset: str | None = None,
    features: str | None = None,
    views: int = 0,
    tta: int = 0,
    allow_missing: bool = False,
    workspace: str | os.PathLike[str] = ".tlx",
    folds: int = 5,
    seed: int = 0,
    name: str | None = None,
    max_per_class: int | None = None,
    repeats: int | None = None,
    repeats_cv: int | None = None,
    near_duplicates: str = "ignore",
    cluster: str | Cluster | None = None,
    progress: Progress = silent,
    **params: Any,
) -> HeadsFit:
    """Fit several heads on the same features and folds; one that fails does not stop the others.

    Parameters
    ----------
    models : str, sequence of str or "all", default="all"
        Names of `tlx.classify.heads.registry.heads`. ``"all"`` is every one that is not made of
        others, as ``"vote"`` is; an option then goes to the heads that have it.
    name : str, optional
        Start of the runs' names: that of logreg is ``NAME-logreg``. None may be taken yet.
    cluster : str or Cluster, optional
        ``"processes:4"``, ``"dask://HOST:PORT"`` or ``"ray://HOST:PORT"``: each worker, which must
        see the workspace, fits a head at a time. By default this process fits all.
    dataset, features, views, tta, allow_missing, workspace, folds, seed, max_per_class, repeats,
    repeats_cv, near_duplicates, progress, **params
        See `fit_head`.

    Returns
    -------
    HeadsFit

    Raises
    ------
    UnknownNameError
        If there is no such model.
    FitError
        If a head named has no such option.
    TlxError
        If no head could be fitted: that of the first.

    Examples
    --------
    >>> import tlx
    >>> fitted = tlx.fit_heads(["logreg", "lda"])
    >>> sorted(run.id for run in fitted.runs)
    ['lda-1', 'logreg-1']
    """
    started = time.perf_counter()
    cluster = Cluster.of(cluster)
    check_handling(near_duplicates)
    workspace = Workspace(workspace)
    taken = _options_of(models, params)
    labels = {model: None if name is None else f"{name}-{model}" for model in taken}
    for label in labels.values():
        check_name(workspace, label)
    tables = load_candidates(
        workspace, dataset, features, views=views, tta=tta, allow_missing=allow_missing
    )
    tables, near = handle_duplicates(workspace, tables, near_duplicates)
    how = {"max_per_class": max_per_class, "repeats": repeats, "repeats_cv": repeats_cv}
    runs: list[Run] = []
    failures: dict[str, TlxError] = {}
    costs = {model: heads()[model].cost for model in taken}
    there: dict[str, Evaluation | TlxError] = {}
    if cluster is not None:
        asked = (dataset, features, views, tta, allow_missing, near_duplicates)
        of = Asked(os.path.abspath(workspace), *asked)
        given = {"n_folds": folds, "seed": seed, **how}
        every_one = {model: {**own, **given} for model, own in taken.items()}
        there = evaluate_on(cluster, of, every_one, progress)
    done, total = 0.0, sum(costs.values())
    for model, own in taken.items():
        part = silent if there else share(progress, done, costs[model], total)
        done += costs[model]
        options = {**own, **how, "progress": part, "there": there.get(model)}
        try:
            runs.append(_fit(workspace, tables, near, model, folds, seed, labels[model], options))
        except FAILURES as error:
            failures[model] = in_words(error)
    if not runs:
        raise next(iter(failures.values()))
    runs.sort(key=_rank)
    corrected = _correct(runs)
    return HeadsFit(runs, failures, time.perf_counter() - started, corrected)


def _options_of(models: Sequence[str] | str, params: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the heads that are named, each with its options."""
    named = list(dict.fromkeys(ALIASES.get(name, name) for name in several(models)))
    every = "all" in named
    # Heads that are made of others would be fitted twice.
    simple = [name for name, head in heads().items() if not head.members]
    chosen = [*(simple if every else ()), *(name for name in named if name != "all")]
    taken: dict[str, dict[str, Any]] = {}
    for model in chosen:
        if model not in heads():
            raise UnknownNameError.nearest("model", model, [*heads(), "all"])
        takes = heads()[model].takes
        taken[model] = {k: v for k, v in params.items() if not every or takes(k)}
        _check(model, taken[model])
    return taken


def _correct(runs: list[Run]) -> Metric:
    """Return the first run's accuracy without what choosing it adds: all have the same images."""
    found = [run.predictions() for run in runs]
    draws = [predictions.all_draws for predictions in found]
    accuracy = runs[0].metrics["accuracy"]
    return correct_for_choice(accuracy, found[0].label, draws, found[0].group)


@says_nearest_argument
def evaluate_features(
    X: Any,
    y: Any,
    groups: Any = None,
    model: Any = "logreg",
    *,
    folds: int = 5,
    seed: int = 0,
    **options: Any,
) -> Evaluation:
    """Score a head on features of one's own, as `fit_head` does; no workspace is needed.

    Parameters
    ----------
    X : array of shape (N, D)
        Features, taken as float32.
    y : array of shape (N,)
        Labels of any kind.
    groups : array of shape (N,), optional
        Rows of one group stay in one fold. By default those with the same features are one.
    model : str or classifier, default="logreg"
        See `fit_head`.
    folds, seed : int
    **options
        Of the head; and ``max_per_class``, ``repeats`` and ``repeats_cv``, as in `fit_head`.

    Returns
    -------
    Evaluation
        With ``metrics``, ``confusion`` (classes in sorted order), and for each row, in order,
        ``fold`` and ``probabilities``, given by a head that had not seen it.

    Raises
    ------
    DataError
        If the arrays do not fit together, or a class has fewer groups than folds.
    FitError, UnknownNameError
        See `fit_head`.

    Examples
    --------
    >>> import numpy as np
    >>> import tlx
    >>> y = np.arange(60) % 2
    >>> X = y[:, None] + np.random.default_rng(0).normal(0, 0.1, (60, 3))
    >>> tlx.evaluate_features(X, y, model="lda").metrics["accuracy"].value
    1.0
    """
    try:
        X, y = np.asarray(X, np.float32), np.asarray(y)
    except (TypeError, ValueError) as error:
        raise DataError(f"X is no table of numbers: {error}.", "Pass X (N, D).") from error
    if X.ndim != 2 or y.shape != X.shape[:1] or not len(y):
        raise DataError(
            f"X of shape {X.shape} and y of shape {y.shape} do not fit together.",
            "Pass X (N, D) and y (N,).",
        )
    names, labels = np.unique(y, return_inverse=True)
    rows = [hashlib.sha256(row.tobytes()).digest() for row in np.ascontiguousarray(X)]
    first = {row: i for i, row in reversed(list(enumerate(rows)))}
    groups = [first[row] for row in rows] if groups is None else groups
    group = np.unique(np.asarray(groups), return_inverse=True)[1]
    if group.shape != y.shape:
        raise DataError(f"groups of shape {group.shape} for {len(y)} rows.", "Pass groups (N,).")
    table = Features(
        X=X,
        y=labels.astype(np.int64),
        split=np.full(len(y), ""),
        groups=group.astype(np.int64),
        digest=np.frombuffer(b"".join(rows), np.uint8).reshape(len(y), 32),
        paths=[str(i) for i in range(len(y))],
        class_names=tuple(map(str, names)),
        dataset="of one's own",
        root="",
        sources=[],
    )
    return evaluate_head(table, model, n_folds=folds, seed=seed, **options)


def _check(model: Any, params: dict[str, Any]) -> None:
    resolve(model, {k: v for k, v in params.items() if k != "grid"}, params.get("grid"))


def _confirmed(model: Any, trusted: Iterable[str]) -> tuple[str, ...]:
    """Return the types that a classifier may be saved with; refuse before anything is fitted."""
    if not is_estimator(model):
        raise FitError(
            f"{model!r:.80} is saved without trusted=.", "It is for classifiers of scikit-learn."
        )
    names = confirmed(trusted)
    import_skops()
    return names


def _fit(
    workspace: Workspace,
    tables: list[Features],
    near: Duplicates | None,
    model: Any,
    folds: int,
    seed: int,
    name: str | None,
    options: dict[str, Any],
    trusted: tuple[str, ...] | None = None,
) -> Run:
    table, *others = tables
    options = {**options, "n_folds": folds, "seed": seed}
    evaluation = options.pop("there", None)  # of a worker
    if isinstance(evaluation, TlxError):
        raise evaluation
    evaluation = evaluation or evaluate_head(table, model, others=others, **options)
    used = next(one for one in tables if one.sources == evaluation.sources)
    return save_evaluation(
        workspace, used, evaluation, seed=seed, name=name, trusted=trusted, near=near
    )


def _rank(run: Run) -> tuple[float, float]:
    return -run.metrics["accuracy"].value, run.metrics["log_loss"].value
