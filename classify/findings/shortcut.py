"""Shortcuts: whether what has little to do with the content of an image tells its label.

A shallow decision tree sees only how bright, large or sharp an image is, its file format, camera
and hour. Each image is predicted by a tree that has not seen its group, and whose depth was chosen
by folds of what it has seen. So where nothing tells the label, the tree is as good as guessing, and
the lower limit of its interval is above that in one data set in forty or fewer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..folds import groups_per_class, stratified_group_folds
from ..scoring.classes import balanced_accuracy
from ..scoring.intervals import Metric, allow_for_folds
from .evidence import Evidence
from .finding import Finding, Kind

_FOLDS = 5
_INNER = 3
_DEPTHS = (1, 3, 5)
_DEPTH_ALONE = 3
_LEAF = 5  # images that a leaf has at least
_LARGEST = 10_000  # images that are looked at; more are drawn from
_VALUES = 8  # formats, and cameras, of their own; the rest is one
_TOLD = 0.1  # share of the way from guessing to certainty that is told at all
_STRONG = 0.5  # share from which on it is a warning


def properties(evidence: Evidence, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return what may tell labels, by name: arrays (M, k) for M rows of the table.

    What is the same for all of them is left out.
    """
    manifest, pictures = evidence.manifest, evidence.pictures[rows]
    rows = evidence.rows[rows]
    width, height = (np.maximum(side[rows], 1.0) for side in (manifest.width, manifest.height))
    numbers = {
        "brightness": pictures["brightness"],
        "contrast": pictures["contrast"],
        "sharpness": pictures["sharpness"],
        "colourfulness": pictures["colourfulness"],
        "image size": width * height,
        "image shape": width / height,
        "bytes per pixel": manifest.size[rows] / (width * height),
        "hour of the photo": np.nan_to_num(pictures["taken"] // 3600 % 24, nan=-1.0),
    }
    columns = {name: np.asarray(column, float)[:, None] for name, column in numbers.items()}
    columns["file format"] = _indicators(pictures["format"])
    columns["camera"] = _indicators(pictures["camera"])
    varied = {name: values[:, np.ptp(values, axis=0) > 0] for name, values in columns.items()}
    return {name: values for name, values in varied.items() if values.size}


def _indicators(values: np.ndarray) -> np.ndarray:
    found, counts = np.unique(values, return_counts=True)
    common = found[np.argsort(-counts, kind="stable")[:_VALUES]]
    return np.stack([values == value for value in common], axis=1).astype(float)


def tell_label(
    columns: np.ndarray, y: np.ndarray, groups: np.ndarray, depths: tuple[int, ...] = _DEPTHS
) -> Metric:
    """Return how well a tree tells labels from a few columns: balanced accuracy, nested 5-fold.

    Parameters
    ----------
    columns : ndarray of shape (N, P)
    y : ndarray of shape (N,), int
        Class indices from 0 on, each of at least 5 groups.
    groups : ndarray of shape (N,), int
    depths : tuple of int
        If several, inner folds choose one for each fold.
    """
    fold = stratified_group_folds(y, groups, _FOLDS)
    predicted = np.empty(len(y), np.int64)
    for k in range(_FOLDS):
        train, held_out = np.flatnonzero(fold != k), fold == k
        depth = min(depths)
        if len(depths) > 1:
            depth = _choose_depth(columns[train], y[train], groups[train], depths)
        predicted[held_out] = _fit_predict(columns[train], y[train], columns[held_out], depth)
    metric = balanced_accuracy(y, predicted, int(y.max()) + 1, _numbered(groups))
    return allow_for_folds({"balanced_accuracy": metric}, _FOLDS)["balanced_accuracy"]


def _choose_depth(
    columns: np.ndarray, y: np.ndarray, groups: np.ndarray, depths: tuple[int, ...]
) -> int:
    fold = stratified_group_folds(y, groups, _INNER, seed=1)
    recalls = []
    for depth in depths:
        right = np.empty(len(y), bool)
        for k in range(_INNER):
            train, out = fold != k, fold == k
            right[out] = _fit_predict(columns[train], y[train], columns[out], depth) == y[out]
        recalls.append(np.mean([right[y == c].mean() for c in np.unique(y)]))
    return depths[int(np.argmax(recalls))]  # the shallowest of equals


def _fit_predict(X: np.ndarray, y: np.ndarray, new: np.ndarray, depth: int) -> np.ndarray:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(
        max_depth=depth, min_samples_leaf=_LEAF, class_weight="balanced", random_state=0
    )
    return tree.fit(X, y).predict(new)


def _numbered(groups: np.ndarray) -> np.ndarray:
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def _rows(evidence: Evidence) -> np.ndarray:
    """Return the rows that are looked at: measured, and of classes that reach for the folds."""
    table = evidence.table
    rows = np.flatnonzero(evidence.measured)
    if len(rows) > _LARGEST:
        rows = np.sort(np.random.default_rng(0).choice(rows, _LARGEST, replace=False))
    if not len(rows):
        return rows
    enough = np.flatnonzero(groups_per_class(table.y[rows], table.groups[rows]) >= _FOLDS)
    return rows[np.isin(table.y[rows], enough)]


def _find(evidence: Evidence) -> Iterator[Finding]:
    rows = _rows(evidence)
    classes, y = np.unique(evidence.table.y[rows], return_inverse=True)
    C = len(classes)
    if C < 2:
        return
    groups = evidence.table.groups[rows]
    columns = properties(evidence, rows)
    if not columns:
        return
    found = tell_label(np.hstack(list(columns.values())), y, groups)
    skill = (found.value - 1 / C) / (1 - 1 / C)
    if found.low <= 1 / C or skill < _TOLD:
        return
    alone = {
        name: tell_label(values, y, groups, (_DEPTH_ALONE,)).value
        for name, values in columns.items()
    }
    best = max(alone, key=alone.__getitem__)
    strong = skill >= _STRONG
    yield SHORTCUT.finding(
        "warning" if strong else "note",
        f"Light, sharpness, size, file format, camera and hour alone tell the label of "
        f"{found.value:.0%} of the images (95% interval {found.low:.0%} to {found.high:.0%}, each "
        f"class counting the same), where guessing tells {1 / C:.0%}; the best by itself: "
        f"{best}, {alone[best]:.0%}.",
        f"If classes will not differ in {best} later, scores are too good: take or save the images "
        "of all classes in the same way."
        if strong
        else f"See whether classes should differ in {best}.",
        value=found.value,
        low=found.low,
        high=found.high,
    )


SHORTCUT = Kind(
    "TLX402",
    "shortcut",
    "whether light, size, format, camera or hour tell the label",
    _find,
    needs_labels=True,
)
KINDS = (SHORTCUT,)
