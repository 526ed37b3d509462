"""Learning curves: what more images have brought so far, and what twice as many would bring."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..arguments import says_nearest_argument
from ..embed.cluster import Cluster, map_cluster
from ..errors import DataError
from ..progress import Progress, share, silent
from ..reprs import html_table
from ..workspace import Workspace
from .heads.linear import softmax
from .heads.registry import each_member, fit_grid, get_head
from .scoring.calibrate import halve_groups, log_probabilities
from .scoring.doubling import Doubled, extrapolate
from .scoring.intervals import allow_for_folds, average_draws
from .scoring.metrics import Metric, image_loss, score
from .scoring.plan import make_plan
from .spread import check_workspace
from .table import Features, load_table


@dataclass(frozen=True)
class Point:
    """Accuracy of heads that learned from a part of the images.

    Attributes
    ----------
    per_class : float
        Training images a class: the mean over the classes and folds.
    n_train : float
        Training images: the mean over the folds.
    accuracy : Metric
        Mean over the repeats, on the same held-out images for every point.
    repeats : list of float
        The accuracy of each repeat.
    """

    per_class: float
    n_train: float
    accuracy: Metric
    repeats: list[float]


@dataclass(frozen=True, repr=False)
class LearningCurve:
    """Accuracy against the number of training images.

    Attributes
    ----------
    model, dataset, protocol : str
    n : int
        Held-out images, the same for all points.
    points : list of Point
        The last one has all images.
    doubled : Doubled or None
        None if there are fewer than four points.
    reason : str
        Why it cannot be told; "" if it can.
    """

    model: str
    dataset: str
    protocol: str
    n: int
    points: list[Point]
    doubled: Doubled | None
    reason: str

    def __repr__(self) -> str:
        return (
            f"<LearningCurve of {self.model} on {self.dataset!r}: {len(self.points)} sizes up to "
            f"{self.points[-1].per_class:.0f} images a class, accuracy {self.points[-1].accuracy}>"
        )

    def _repr_html_(self) -> str:
        rows = [(f"{p.per_class:.1f}", f"{p.n_train:.0f}", p.accuracy) for p in self.points]
        if self.doubled is not None:
            rows.append((f"{self.doubled.per_class:.1f}", "expected", self.doubled.accuracy))
        return html_table(repr(self), ("images a class", "images", "accuracy"), rows)


@says_nearest_argument
def learning_curve(
    model: str = "logreg",
    *,
    dataset: str | None = None,
    features: str | None = None,
    workspace: str | os.PathLike[str] = ".tlx",
    folds: int = 5,
    repeats: int = 5,
    seed: int = 0,
    grid: dict[str, list[float]] | None = None,
    cluster: str | Cluster | None = None,
    progress: Progress = silent,
    **params: Any,
) -> LearningCurve:
    """Measure accuracy against images a class, and say what twice the images would bring.

    Parameters
    ----------
    model : str, default="logreg"
        A name of `tlx.classify.heads.registry.heads`.
    dataset, features : str, optional
        See `tlx.classify.table.load_table`.
    workspace : path, default=".tlx"
    folds : int, default=5
        Folds of cross-validation, if the data set has no validation split.
    repeats : int, default=5
        Random orders in which images are added, at least 2.
    seed : int, default=0
        Of folds, orders and resamples.
    grid : dict, optional
        Candidates by parameter; by default the head's own.
    cluster : str or Cluster, optional
        ``"processes:4"``, ``"dask://HOST:PORT"`` or ``"ray://HOST:PORT"``: each worker, which must
        see the workspace, fits the heads of one number of images at a time.
    progress : Progress, optional
        Told how much is done.
    **params
        Fixed parameters of the head.

    Returns
    -------
    LearningCurve

    Raises
    ------
    DataError
        If a class has too few images for two points, or there are fewer than 2 repeats. Also see
        `tlx.classify.table.load_table`.
    FitError, UnknownNameError
        See `tlx.classify.fit.fit_head`.

    Notes
    -----
    Every head is scored on the same images: the validation split, or each fold by heads that
    learned from the others. Groups are added whole. The smaller sets are parts of the larger ones
    within a repeat. Parameters are chosen for each number of images by the log loss on the other
    folds (of a validation split: on its other half), which costs no fits.

    Examples
    --------
    >>> import tlx
    >>> curve = tlx.learning_curve("lda", repeats=2)
    >>> [point.per_class for point in curve.points]
    [3.0, 5.0, 9.6]
    """
    cluster = Cluster.of(cluster)
    table = load_table(Workspace(workspace), dataset, features)
    asked = Asked(os.path.abspath(workspace), dataset, features)
    there = None if cluster is None else (cluster, asked)
    return curve_of(table, model, folds, repeats, seed, grid, progress, there, **params)


def curve_of(
    table: Features,
    model: str = "logreg",
    folds: int = 5,
    repeats: int = 5,
    seed: int = 0,
    grid: dict[str, list[float]] | None = None,
    progress: Progress = silent,
    there: tuple[Cluster, Asked] | None = None,
    **params: Any,
) -> LearningCurve:
    """Do the work of `learning_curve` on a table, with the help of those who are `there`."""
    if repeats < 2:
        raise DataError(f"{repeats} repeats show no spread.", "Use --repeats 2 or more.")
    how = _How(model, folds, repeats, seed, grid, params)
    parts, held_out = _parts(table, how)
    rows = np.concatenate(held_out)
    head = get_head(model)
    members = range(len(each_member(head, params, grid)))
    items = [(i, k) for i in members for k in range(len(parts))]
    work = [sum(len(train) for repeat in parts[k] for train in repeat) for _, k in items]
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    if there is None:
        for n, item in enumerate(items):
            part = share(progress, sum(work[:n]), work[n], sum(work))
            found[item] = _fit_size(table, parts, held_out, how, item, part)
    else:
        cluster, asked = there
        for n, value in map_cluster(cluster, fit_size, (asked, how), items[::-1]):
            found[items[::-1][n]] = value  # the longest work is given out first
            progress(len(found), len(items))
    proba = _together([[found[i, k] for k in range(len(parts))] for i in members])
    y, groups = table.y[rows], table.groups[rows]
    points, right, n_folds = [], [], len(held_out)
    for part, one in zip(parts, proba, strict=True):
        hits = np.stack([p.argmax(axis=1) == y for p in one]).astype(float)  # (repeats, M)
        sizes = [len(train) for repeat in part for train in repeat]
        points.append(
            _point(
                y, one, groups, hits, float(np.mean(sizes)), len(table.class_names), len(held_out)
            )
        )
        right.append(hits)
    per_class = [point.per_class for point in points]
    doubled, reason = extrapolate(
        per_class, right, groups, points[-1].accuracy, seed, len(held_out)
    )
    protocol = "validation split" if n_folds == 1 else f"{folds}-fold"
    return LearningCurve(head.name, table.dataset, protocol, len(rows), points, doubled, reason)


def _shares(table: Features, trains: Sequence[np.ndarray]) -> list[float]:
    """Return the shares of the training images to learn from: halves, while each class has two."""
    smallest = min(np.unique(table.y[train], return_counts=True)[1].min() for train in trains)
    count = int(np.log2(max(smallest, 1) / 2)) + 1 if smallest >= 2 else 1
    if count < 2:
        raise DataError(
            f"the smallest class has {smallest} training image(s), which makes no curve.",
            "Give every class at least 4 images to learn from.",
        )
    return [0.5**k for k in range(min(count, 8))][::-1]


def draw_part(table: Features, train: np.ndarray, share: float, seed: Sequence[int]) -> np.ndarray:
    """Return about a share of each class of `train`, groups whole and in an order fixed by `seed`.

    A group is taken while its class is short of its share, so that no class is left out.
    """
    if share == 1:
        return train
    y, groups = table.y[train], table.groups[train]
    unique, group_of = np.unique(groups, return_inverse=True)
    members = np.argsort(group_of, kind="stable")
    starts = np.searchsorted(group_of[members], np.arange(len(unique) + 1))
    wanted = np.ceil(share * np.bincount(y))
    taken = np.zeros(len(wanted))
    chosen = []
    for g in np.random.default_rng(seed).permutation(len(unique)):
        rows = members[starts[g] : starts[g + 1]]
        if (taken[y[rows]] < wanted[y[rows]]).any():
            np.add.at(taken, y[rows], 1)
            chosen.append(rows)
    return np.sort(train[np.concatenate(chosen)])


def _together(voices: Sequence[list[list[np.ndarray]]]) -> list[list[np.ndarray]]:
    """Return the mean of the logits of several heads, as a vote takes it, by size and repeat."""
    if len(voices) == 1:
        return voices[0]
    return [
        [
            softmax(np.mean([log_probabilities(p) for p in same], axis=0))
            for same in zip(*size, strict=True)
        ]
        for size in zip(*voices, strict=True)
    ]


class Asked(NamedTuple):
    """Which rows of which workspace a worker is to read."""

    workspace: str
    dataset: str | None
    features: str | None


class _How(NamedTuple):
    """How a curve is measured; see `learning_curve`."""

    model: str
    folds: int
    repeats: int
    seed: int
    grid: dict[str, list[float]] | None
    params: dict[str, Any]


def _parts(table: Features, how: _How) -> tuple[list[list[list[np.ndarray]]], list[np.ndarray]]:
    """Return the rows to learn from by size, repeat and fold, and the rows of each fold."""
    plan = make_plan(table, how.folds, how.seed, search=False)
    fits = [plan.fits[k] for k in plan.scored]
    shares = _shares(table, [p.train for p in fits])
    parts = [
        [
            [draw_part(table, p.train, share, [how.seed, r, k]) for k, p in enumerate(fits)]
            for r in range(how.repeats if share < 1 else 1)  # all images are all images
        ]
        for share in shares
    ]
    return parts, [p.held_out for p in fits]


def _fit_size(
    table: Features,
    parts: list[list[list[np.ndarray]]],
    held_out: list[np.ndarray],
    how: _How,
    item: tuple[int, int],
    progress: Progress,
) -> list[np.ndarray]:
    """Return held-out probabilities (M, C) by repeat, with parameters chosen for each.

    They are those of one member of the head at one size, `item`: one path for all its repeats and
    folds side by side.
    """
    model, params, grid = each_member(get_head(how.model), how.params, how.grid)[item[0]]
    size = parts[item[1]]
    y = table.y[np.concatenate(held_out)]
    fold = np.repeat(np.arange(len(held_out)), [len(rows) for rows in held_out])
    if len(held_out) == 1:
        fold = halve_groups(table.groups[held_out[0]], how.seed)
    trains = [train for repeat in size for train in repeat]
    rows = np.unique(np.concatenate(trains))  # so that few images cost little
    X, groups = table.X[rows], table.groups[rows]
    weights = np.zeros((len(trains), len(rows)), np.float32)
    for weight, train in zip(weights, trains, strict=True):
        weight[np.searchsorted(rows, train)] = 1
    steps = []
    also: dict[str, Any] = {"groups": groups, "seed": how.seed, "progress": progress, **params}
    for step in fit_grid(model, X, table.y[rows], weights, grid or None, **also):
        proba = [
            step.head(i).predict_proba(table.X[held_out[i % len(held_out)]])
            for i in range(len(trains))
        ]
        steps.append(np.concatenate(proba).reshape(len(size), len(y), -1).astype(np.float32))
    return list(_chosen(np.stack(steps), y, fold))


def fit_size(shared: tuple[Asked, _How], item: tuple[int, int]) -> list[np.ndarray]:
    """Return what one member of a head at one size is worth, in a worker."""
    asked, how = shared
    table = _table(asked)
    return _fit_size(table, *_parts(table, how), how, item, silent)


@functools.lru_cache(maxsize=1)
def _table(asked: Asked) -> Features:
    return load_table(check_workspace(asked.workspace), asked.dataset, asked.features)


def _chosen(steps: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Choose a step for each fold and repeat by the loss on the other folds.

    Parameters
    ----------
    steps : ndarray of shape (steps, repeats, M, C)
    y, fold : ndarray of shape (M,)

    Returns
    -------
    ndarray of shape (repeats, M, C)
    """
    loss = image_loss(steps[:, :, np.arange(len(y)), y])  # (steps, repeats, M)
    out = np.empty(steps.shape[1:], steps.dtype)
    for k in np.unique(fold):
        best = loss[:, :, fold != k].mean(axis=2).argmin(axis=0)
        for repeat, step in enumerate(best):
            out[repeat, fold == k] = steps[step, repeat, fold == k]
    return out


def _point(
    y: np.ndarray,
    proba: list[np.ndarray],
    groups: np.ndarray,
    hits: np.ndarray,
    n_train: float,
    n_classes: int,
    n_folds: int,
) -> Point:
    """Return a point with an interval for both chances: which images to learn from, which to score.

    The half width for the images scored is the mean one of the repeats, that for the images learned
    from is Student's; as they are independent, their squares add.
    """
    repeats = hits.mean(axis=1)
    each = [{"accuracy": allow_for_folds(score(y, p, groups), n_folds)["accuracy"]} for p in proba]
    accuracy = average_draws(each)["accuracy"]
    return Point(n_train / n_classes, n_train, accuracy, repeats.tolist())
