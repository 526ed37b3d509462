"""What corrections of labels changed: a run beside the one before it, on the same images."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from ..errors import FormatError, StorageError
from ..workspace import Workspace
from .duplicates import are_grouped
from .runs.best import runs_of
from .runs.predictions import Predictions
from .runs.run import Run
from .runs.scored import recipe_of
from .scoring.paired import Difference, compare_paired


@dataclass(frozen=True)
class SinceBefore:
    """How a run compares with one of the same head from before labels were corrected.

    Attributes
    ----------
    run : str
        Id of the run before.
    corrected, left_out : int
        Labels that were corrected since, and images that were left out.
    n : int
        Images that both were scored on.
    before, now : float
        Accuracy of either on these images, with the labels as they are now.
    difference : Difference
        Now less before, paired.
    """

    run: str
    corrected: int
    left_out: int
    n: int
    before: float
    now: float
    difference: Difference


def since_before(run: Run, workspace: str | os.PathLike[str] = ".tlx") -> SinceBefore | None:
    """Return what corrections changed since the last run of the same head, scored alike.

    Parameters
    ----------
    run : Run
    workspace : path, default=".tlx"

    Returns
    -------
    SinceBefore or None
        None if nothing was corrected since, or there is no such run that can be read.

    Examples
    --------
    >>> import tlx
    >>> first = tlx.fit_head("lda")
    >>> done = tlx.relabel_images({"red/0.png": "blue"}, apply=True)
    >>> since_before(tlx.fit_head("lda")).corrected
    1
    """
    place = Workspace(workspace)
    corrections = place.corrections(run.info.dataset).by_path.values()
    if not corrections:
        return None
    earlier = [
        other
        for other in runs_of(place, run.info.dataset)
        if other.info.time < run.info.time and _alike(other, run)
    ]
    if not earlier:
        return None
    before = earlier[-1]
    since = before.info.time.timestamp()
    actions = [one.action for one in corrections if one.time > since]
    if not {"relabel", "drop"} & set(actions):
        return None
    try:
        told = _on_common_images(run, before)
    except (FormatError, StorageError):  # no reason for a run that was just fitted to fail
        return None
    if told is None:
        return None
    return SinceBefore(before.id, actions.count("relabel"), actions.count("drop"), *told)


def _alike(other: Run, run: Run) -> bool:
    """Return whether two runs are of the same head and were scored in the same way."""
    its, own = other.info, run.info
    return (
        recipe_of(other) == recipe_of(run)
        and its.protocol == own.protocol
        and are_grouped(its.near_duplicates) == are_grouped(own.near_duplicates)
    )


def _on_common_images(run: Run, before: Run) -> tuple[int, float, float, Difference] | None:
    """Return how many images both scored, the accuracy before and now, and the difference."""
    now, then = run.predictions(), before.predictions()
    place = {key: row for row, key in enumerate(_keys(then))}
    old = np.array([place.get(key, -1) for key in _keys(now)], np.int64)
    new = np.flatnonzero(old >= 0)
    old = old[new]
    if not len(new) or len(now.all_draws) != len(then.all_draws):
        return None
    classes = sorted({*run.class_names, *before.class_names})
    a = _in_classes(now.all_draws[:, new], run.class_names, classes)
    b = _in_classes(then.all_draws[:, old], before.class_names, classes)
    y = np.array([classes.index(name) for name in run.class_names])[now.label[new]]
    groups = now.group[new]
    difference = compare_paired("accuracy", y, a, b, groups, n_folds=len(np.unique(now.fold)))
    right = [float((p.argmax(axis=-1) == y).mean()) for p in (b, a)]
    return len(new), right[0], right[1], difference


def _keys(scored: Predictions) -> list[tuple[str, bytes]]:
    return list(zip(scored.path, map(bytes, scored.digest), strict=True))


def _in_classes(draws: np.ndarray, names: tuple[str, ...], classes: list[str]) -> np.ndarray:
    """Return probabilities (R, M, C) with a column for each of `classes`; 0 for those unknown."""
    out = np.zeros((*draws.shape[:2], len(classes)))
    out[..., [classes.index(name) for name in names]] = draws
    return out
