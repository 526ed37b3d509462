"""Folds that keep groups whole and share out every class.

They lie below the heads and not among the scores, because heads hold out rows of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..errors import DataError


def stratified_group_folds(
    y: np.ndarray,
    groups: np.ndarray,
    n_folds: int,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Deal images into folds so that groups stay whole and every fold has its share of each class.

    Groups are dealt in random order, large ones first, each to the fold that has the fewest of the
    group's classes so far; among those to the smallest fold. For groups of one image this is a
    stratified split whose folds differ by at most one image of a class.

    Parameters
    ----------
    y : ndarray of shape (N,), int
        Class indices.
    groups : ndarray of shape (N,), int
    n_folds : int
    seed : int, default=0
    class_names : sequence of str, optional
        For the message of the error.

    Returns
    -------
    ndarray of shape (N,), int64
        The fold of each image, 0 to ``n_folds - 1``.

    Raises
    ------
    DataError
        If a class has fewer groups than folds.
    """
    _check_folds(y, groups, n_folds, class_names)
    _, group_of = np.unique(groups, return_inverse=True)
    members: list[list[int]] = [[] for _ in range(group_of.max() + 1)]
    for row, group in enumerate(group_of.tolist()):
        members[group].append(row)
    order = np.random.default_rng(seed).permutation(len(members)).tolist()
    order = sorted(order, key=lambda g: -len(members[g]))
    # Lists, as arrays of so few numbers take ten times as long for each of a million groups.
    label_of = y.tolist()
    taken = [[0] * n_folds for _ in range(int(y.max()) + 1)]  # images of each class in each fold
    total = [0] * n_folds
    fold = np.empty(len(y), np.int64)
    for group in order:
        rows = members[group]
        counts = {label_of[rows[0]]: 1} if len(rows) == 1 else Counter(label_of[r] for r in rows)
        loads = [[count * n for n in taken[label]] for label, count in counts.items()]
        load = loads[0] if len(loads) == 1 else list(map(sum, zip(*loads, strict=True)))
        best = min(zip(load, total, range(n_folds), strict=True))[2]
        for label, count in counts.items():
            taken[label][best] += count
        total[best] += len(rows)
        fold[rows] = best
    return fold


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


def groups_per_class(y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return how many independent groups each class index has, shape (max(y) + 1,) int."""
    number = np.unique(groups, return_inverse=True)[1].ravel()
    pairs = np.unique(y * np.int64(len(y) + 1) + number)
    return np.bincount(pairs // (len(y) + 1))


def _check_folds(
    y: np.ndarray, groups: np.ndarray, n_folds: int, class_names: Sequence[str] | None
) -> None:
    if n_folds < 2:
        raise DataError(f"{n_folds} folds are too few.", "Use --folds 2 or more.")
    counts = groups_per_class(y, groups)
    counts = np.where(np.bincount(y) > 0, counts, len(y) + 1)  # an absent class asks for nothing
    label = int(counts.argmin())
    smallest = int(counts[label])
    if smallest >= n_folds:
        return
    name = class_names[label] if class_names else label
    raise DataError(
        f"class {name!r} has {smallest} independent image(s), fewer than the {n_folds} folds "
        "(copies and images of one group count once).",
        f"Add images, or use --folds {smallest}."
        if smallest >= 2
        else f"Add images of {name!r}, or remove the class: two a class are the least.",
    )
