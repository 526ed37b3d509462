"""Images that resemble no other image of the data set: of something else, or not a photo at all.

An image is one if the distance to its neighbours is beyond what chance gives so many images, both
among all images and among those of its class. A rank among N images can never be rarer than 1 in
N, which is not rare among N, so the far tail is that of a normal distribution, fitted to the upper
half of the distances: their median, and the quantile of 80%, which a tenth of strangers hardly
moves. Of what is told a tenth at most is expected to be chance [1]_.

References
----------
.. [1] Y. Benjamini, Y. Hochberg (1995), Controlling the false discovery rate, Journal of the Royal
   Statistical Society B 57.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..cosine import unit_rows
from ..strangers import choose_references, neighbour_distances
from .evidence import Evidence
from .finding import Finding, Flagged, Kind

_REFERENCES = 3000  # images that others are compared with
_FALSE = 0.1  # share of what is told that may be chance
_LEAST = 20  # images from which on a class has a spread of its own
_QUANTILE = 0.8
_SKEW = 2  # how much wider the upper half may be than the lower one
_MANY = 0.1  # share of the images; where more seem to be strangers, the tail is no normal one
_DEVIATIONS = 0.8416  # of a normal distribution, from its median to that quantile


def strangeness(distances: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how many standard deviations each distance is above the middle, shape (N,).

    Of all distances or of those in its class, whichever is less: a class of varied photos beside
    one of alike ones is no class of strangers.

    Parameters
    ----------
    distances : ndarray of shape (N,)
    y : ndarray of shape (N,), int
    """
    found = _deviations(distances)
    for c in np.flatnonzero(np.bincount(y) >= _LEAST):
        own = y == c
        found[own] = np.minimum(found[own], _deviations(distances[own]))
    return found


def _deviations(distances: np.ndarray) -> np.ndarray:
    lower, middle, upper = np.quantile(distances, [1 - _QUANTILE, 0.5, _QUANTILE])
    # Where strangers are a third of a class, they are the upper half; they hardly move the lower.
    spread = min(upper - middle, _SKEW * (middle - lower))
    return (distances - middle) / max(spread / _DEVIATIONS, 1e-6)


def are_beyond_chance(deviations: np.ndarray) -> np.ndarray:
    """Return which are, shape (N,) bool, so that a tenth of these is expected to be chance."""
    from scipy.special import ndtr

    p, N = ndtr(-deviations), len(deviations)
    passed = np.flatnonzero(np.sort(p) <= _FALSE * np.arange(1, N + 1) / N)
    return p <= (np.sort(p)[passed[-1]] if len(passed) else -1.0)


def _find(evidence: Evidence) -> Iterator[Finding]:
    table = evidence.table
    if len(table) < _LEAST:
        return
    chosen = choose_references(table.y, _REFERENCES)
    far = neighbour_distances(
        table.X, unit_rows(table.X[chosen]), evidence.groups, evidence.groups[chosen]
    )
    rows = np.flatnonzero(np.isfinite(far))
    if len(rows) < _LEAST:
        return
    deviations = strangeness(far[rows], table.y[rows])
    beyond = np.flatnonzero(are_beyond_chance(deviations))
    if len(beyond) > _MANY * len(rows):
        return
    images = [
        Flagged(
            table.paths[rows[i]],
            table.class_names[table.y[rows[i]]],
            score=round(float(deviations[i]), 2),
        )
        for i in beyond[np.argsort(-deviations[beyond])]
        if table.paths[rows[i]] not in evidence.kept
    ]
    if images:
        n, least = len(images), f"{'at least ' * (len(images) > 1)}{images[-1].score:.1f}"
        yield STRANGER.finding(
            "warning",
            f"{n} image{' resembles' if n == 1 else 's resemble'} nothing else in the data set: "
            f"{least} standard deviations farther from the others than is usual.",
            "Look at them: leave out what shows none of the classes.",
            value=float(n),
            images=tuple(images),
        )


STRANGER = Kind("TLX401", "stranger", "images that resemble nothing else", _find)
KINDS = (STRANGER,)
