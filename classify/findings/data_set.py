"""What is wrong with a data set as a whole: few images, unequal classes, bursts without groups."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from ...reprs import listed
from ..cosine import unit_rows
from ..folds import groups_per_class
from .evidence import Evidence
from .finding import Finding, Flagged, Kind

_FEW = 20  # independent images: the interval of their recall is up to 40 points wide
_FOLDS = 5  # by default; a class of fewer groups cannot be dealt into them
_UNEQUAL = 10.0  # images of the largest class for each of the smallest

_BURST = 10.0  # seconds between photos of one burst, by the camera's clock
_LEAST = 20  # pairs from which on something can be told
_ALIKE = 0.7  # how often a pair of a burst is more alike than others, at least; by chance 0.5
_DRAWN = 20_000  # pairs that are looked at
_TOLD = 100  # images that are named
_NUMBER = re.compile(r"(.*?)[ _.()-]*(\d{1,18})\)?(\.[^.]*)?$", re.DOTALL)


def _few(evidence: Evidence) -> Iterator[Finding]:
    table = evidence.table
    counts = groups_per_class(table.y, table.groups)
    few = [int(label) for label in np.argsort(counts, kind="stable") if counts[label] < _FEW]
    if few:
        least = int(counts[few[0]])
        names = listed([f"{table.class_names[label]} {counts[label]}" for label in few], 6)
        yield SMALL_CLASS.finding(
            "warning" if least < _FOLDS else "note",
            f"{len(few)} of {len(counts)} classes have fewer than {_FEW} independent images: "
            f"{names}.",
            "Add images of them: recall of so few is known within 20 points at best.",
            value=float(least),
        )


def _unequal(evidence: Evidence) -> Iterator[Finding]:
    table = evidence.table
    counts = np.bincount(table.y)
    most, least = int(counts.argmax()), int(counts.argmin())
    ratio = float(counts[most] / counts[least])
    if ratio >= _UNEQUAL:
        yield IMBALANCE.finding(
            "note",
            f"{table.class_names[most]!r} has {counts[most]:,} images and "
            f"{table.class_names[least]!r} {counts[least]:,}: to say {table.class_names[most]!r} "
            f"always is right for {counts[most] / counts.sum():.0%} of all.",
            "Look at balanced accuracy and macro F1 instead of accuracy.",
            value=ratio,
        )


def neighbours_by_name(paths: list[str]) -> np.ndarray:
    """Return pairs of images whose names differ in their last number alone, by one; (P, 2) int.

    Examples
    --------
    >>> neighbours_by_name(["a/img_001.jpg", "a/img_002.jpg", "a/img_7.jpg", "b/img_2.jpg"])
    array([[0, 1]])
    """
    place: dict[tuple[str, str, int], int] = {}
    for row, path in enumerate(paths):
        if found := _NUMBER.fullmatch(path):
            place.setdefault((found[1], found[3] or "", int(found[2])), row)
    pairs = [
        (row, place[stem, end, number + 1])
        for (stem, end, number), row in place.items()
        if (stem, end, number + 1) in place
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def neighbours_by_time(taken: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Return pairs of images that one camera took within 10 seconds, one after the other; (P, 2).

    Parameters
    ----------
    taken : ndarray of shape (N,)
        Seconds; NaN where it is not known.
    camera : ndarray of shape (N,), bytes
    """
    order = np.lexsort((taken, camera))
    first, second = order[:-1], order[1:]
    close = (taken[second] - taken[first] <= _BURST) & (camera[first] == camera[second])
    return np.stack([first[close], second[close]], axis=1)


def how_alike(
    X: np.ndarray, y: np.ndarray, pairs: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return centred cosines of pairs of images, (P,), and of as many random pairs of their class.

    Each pair (i, j) is compared with one of i and an image drawn from its class.
    """
    by_class = np.argsort(y, kind="stable")
    counts = np.bincount(y)
    start = np.cumsum(counts) - counts
    one = pairs[:, 0]
    drawn = by_class[start[y[one]] + rng.integers(counts[y[one]])]
    rows, place = np.unique(np.concatenate([pairs.ravel(), drawn]), return_inverse=True)
    unit = unit_rows(X[rows] - X.mean(axis=0))
    i, j = place[: 2 * len(pairs)].reshape(-1, 2).T
    random = place[2 * len(pairs) :]
    return np.einsum("nd,nd->n", unit[i], unit[j]), np.einsum("nd,nd->n", unit[i], unit[random])


def _bursts(evidence: Evidence) -> Iterator[Finding]:
    table, pictures = evidence.table, evidence.pictures
    found = {
        "names one after the other": neighbours_by_name(table.paths),
        "times within 10 seconds": neighbours_by_time(pictures["taken"], pictures["camera"]),
    }
    rng = np.random.default_rng(0)
    for what, pairs in found.items():
        i, j = pairs.T
        pairs = pairs[(table.y[i] == table.y[j]) & (table.groups[i] != table.groups[j])]
        if len(pairs) > _DRAWN:
            pairs = pairs[np.sort(rng.choice(len(pairs), _DRAWN, replace=False))]
        if len(pairs) < _LEAST:
            continue
        alike, others = how_alike(table.X, table.y, pairs, rng)
        # Each pair against a random one that shares an image with it: a sign test.
        share = float(np.mean(alike > others) + np.mean(alike == others) / 2)
        half = 1.96 * np.sqrt(max(share * (1 - share), 1 / len(pairs)) / len(pairs))
        if share - half < 0.5 or share < _ALIKE:
            continue
        told = np.argsort(-alike, kind="stable")
        told = told[alike[told] > np.quantile(others, 0.95)][:_TOLD]
        yield BURSTS.finding(
            "warning",
            f"Images with {what} are more alike than others of their class, in "
            f"{share:.0%} of {len(pairs):,} comparisons (by chance 50%): they may show one thing, "
            "and are not of one group.",
            "List what belongs together in a CSV file with path,label,group, and embed that.",
            value=share,
            low=share - half,
            high=min(share + half, 1.0),
            images=tuple(
                Flagged(
                    table.paths[pairs[k, 0]],
                    table.class_names[table.y[pairs[k, 0]]],
                    score=round(float(alike[k]), 4),
                    other=table.paths[pairs[k, 1]],
                )
                for k in told
            ),
        )


SMALL_CLASS = Kind("TLX501", "small-class", "classes of few images", _few, needs_labels=True)
IMBALANCE = Kind("TLX502", "imbalance", "classes of very unequal size", _unequal, needs_labels=True)
BURSTS = Kind("TLX503", "bursts", "series of alike images that are not of one group", _bursts)
KINDS = (SMALL_CLASS, IMBALANCE, BURSTS)
