"""Labels that are probably wrong, as runs and the embeddings themselves see it.

Each run votes on the images that it was scored on, and the embeddings on all: also on those that a
run learned from, and where there is no run yet. How probable a label is wrong, by each voter, is
what `tlx.classify.scoring.label_noise` says; of several voters it is the mean.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import large
from ..scoring.label_noise import fit_label_noise
from .evidence import Evidence
from .finding import Finding, Flagged, Kind
from .left_out import values_left_out

_GRAVE = 0.01  # share of wrong labels from which on every figure is off by as much
_SUSPECT = 0.2  # to miss a wrong label costs as much as four looks in vain
_SAMPLED = " The embeddings judged all {1:,} labels after learning from about {0:,} of them."
_TINY = 1e-9  # what a probability of 0 counts as


def true_classes(evidence: Evidence) -> np.ndarray:
    """Return how probable each class is to be the true one of each image, (N, C) float32.

    Its label is taken into account; a probability of 1 less that of the label is one of an error.
    """
    table = evidence.table
    total = _voted(values_left_out(table.X, table.y, evidence.groups), table.y)
    votes = np.ones(len(table))
    for scored in evidence.scored:
        if len(scored.rows):
            said = np.log(np.maximum(scored.probabilities, _TINY))
            total[scored.rows] += _voted(said, table.y[scored.rows])
            votes[scored.rows] += 1
    return total / votes[:, None].astype(np.float32)


def _voted(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    return fit_label_noise(values, y).true_classes(values, y)


def _find(evidence: Evidence) -> Iterator[Finding]:
    table = evidence.table
    if len(table.class_names) < 2:
        return
    true, every = true_classes(evidence), np.arange(len(table))
    wrong = 1 - true[every, table.y]
    true[every, table.y] = -1
    other, decided = true.argmax(axis=1), evidence.decided
    suspects = [
        row
        for row in np.argsort(-wrong, kind="stable")
        if wrong[row] > _SUSPECT and table.paths[row] not in decided
    ]
    if not suspects:
        return
    n, expected = len(suspects), float(wrong[suspects].sum())
    sampled = _SAMPLED.format(large.SAMPLE, len(table)) if large.is_large(table.X) else ""
    yield SUSPECT_LABEL.finding(
        "grave" if expected > _GRAVE * len(table) else "warning",
        f"{n} label{' is' if n == 1 else 's are'} suspect: {_expected(n, expected)}.{sampled}",
        "Look at them, and correct what is wrong: tlx report, then tlx relabel corrections.csv.",
        value=expected,
        images=tuple(
            Flagged(
                table.paths[row],
                table.class_names[table.y[row]],
                suggested=table.class_names[other[row]],
                score=round(float(wrong[row]), 4),
            )
            for row in suspects
        ),
    )


def _expected(n: int, wrong: float) -> str:
    if n == 1:
        return f"it is wrong with a probability of {wrong:.0%}"
    return f"about {wrong:.0f} of these are wrong, by the probabilities beside them"


SUSPECT_LABEL = Kind(
    "TLX101", "suspect-label", "labels that are probably wrong", _find, needs_labels=True
)
KINDS = (SUSPECT_LABEL,)
