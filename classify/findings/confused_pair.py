"""Two classes that a run takes for each other far more often than for others: perhaps one class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .evidence import Evidence, Scored
from .finding import Finding, Flagged, Kind

_LEVEL = 0.05  # chance of a finding, in a data set in which no two classes are special
_OFTEN = 0.05  # of the images of either class, at least


def confused_pairs(confusion: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of classes that are confused both ways beyond what chance would give.

    Of three classes or more, a class of n images with m errors elsewhere would have them spread
    evenly: a further class gets a share of m / (C - 2) / n. Both classes must be taken for each
    other more often, by binomial tests that are corrected for all pairs; as both must reject, the
    larger p-value counts. Two classes alone have no elsewhere: they are a pair where the accuracy
    is not above that of guessing.

    Parameters
    ----------
    confusion : ndarray of shape (C, C), int
        Rows are true classes, columns predicted ones.

    Returns
    -------
    list of (int, int)
        The most confused first.

    Examples
    --------
    >>> confused_pairs(np.array([[60, 40, 0], [35, 65, 0], [1, 0, 99]]))
    [(0, 1)]
    """
    from scipy.special import bdtrc

    C, total = len(confusion), confusion.sum(axis=1)
    share = confusion / np.maximum(total, 1)[:, None]
    if C == 2:
        return [(0, 1)] if _is_guessing(confusion) else []
    errors = total - np.diag(confusion)
    found = []
    for i in range(C):
        for j in range(i + 1, C):
            if min(share[i, j], share[j, i]) < _OFTEN:
                continue
            p = max(
                # Half an error more: where there is none elsewhere the rate is not 0.
                bdtrc(confusion[a, b] - 1, total[a], min(rate, 1.0))
                for a, b in ((i, j), (j, i))
                for rate in [(errors[a] - confusion[a, b] + 0.5) / (C - 2) / total[a]]
            )
            if p <= _LEVEL / (C * (C - 1) / 2):
                found.append((i, j))
    return sorted(found, key=lambda pair: -(share[pair] + share[pair[::-1]]))


def _is_guessing(confusion: np.ndarray) -> bool:
    """Return whether two classes cannot be told apart: the recalls add up to no more than 1."""
    total = confusion.sum(axis=1)
    if total.min() < 20:
        return False
    recall = np.diag(confusion) / total
    error = np.sqrt((recall * (1 - recall) / total).sum())
    return float(recall.sum() - 1) <= 1.96 * error


def _confusion(scored: Scored, y: np.ndarray, groups: np.ndarray, C: int) -> np.ndarray:
    """Return the confusion matrix (C, C), images of one group and with one prediction once."""
    rows = scored.rows
    seen = np.stack([groups[rows], y[rows], scored.probabilities.argmax(axis=1)])
    _, label, said = np.unique(seen, axis=1)
    return np.bincount(label * C + said, minlength=C * C).reshape(C, C)


def _find(evidence: Evidence) -> Iterator[Finding]:
    table, C = evidence.table, len(evidence.table.class_names)
    if C < 2 or not evidence.scored:
        return
    scored = evidence.scored[0]
    confusion = _confusion(scored, table.y, evidence.groups, C)
    y, said = table.y[scored.rows], scored.probabilities.argmax(axis=1)
    for i, j in confused_pairs(confusion):
        one, other = table.class_names[i], table.class_names[j]
        there, back = (confusion[a, b] / confusion[a].sum() for a, b in ((i, j), (j, i)))
        images = []
        for row in np.flatnonzero(((y == i) & (said == j)) | ((y == j) & (said == i))):
            p = float(scored.probabilities[row, said[row]])
            path = table.paths[scored.rows[row]]
            images.append(Flagged(path, table.class_names[y[row]], score=round(p, 4)))
        yield CONFUSED_PAIR.finding(
            "warning",
            f"{there:.0%} of {one!r} are taken for {other!r} and {back:.0%} of {other!r} for "
            f"{one!r}: far more than for other classes."
            if C > 2
            else f"{one!r} and {other!r} are not told apart: accuracy is that of guessing.",
            "If both mean the same make them one class; if not, look whether labels are mixed up.",
            value=float(there + back) / 2,
            images=tuple(sorted(images, key=lambda image: -(image.score or 0))),
        )


CONFUSED_PAIR = Kind(
    "TLX103", "confused-pair", "two classes that are taken for each other", _find, needs_run=True
)
KINDS = (CONFUSED_PAIR,)
