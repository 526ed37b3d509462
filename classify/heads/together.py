"""Probabilities of many held-out rows by all linear heads of a path, each row read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import large
from .linear import LinearPredictor, softmax

HELD = 2**26  # logits held, in all: 256 MB


@dataclass(frozen=True)
class HeldOut:
    """The linear heads of all problems at all points of a grid, and what they give rows.

    As many points are taken at a time as memory allows: of ten classes and 200,000 rows all.

    Attributes
    ----------
    X : ndarray of shape (N, D)
    heads : sequence of F sequences of P LinearPredictor
    """

    X: np.ndarray
    heads: Sequence[Sequence[LinearPredictor]]
    _found: dict[int, tuple[np.ndarray, int, np.ndarray]] = field(default_factory=dict)

    def proba(self, problem: int, point: int, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities (m, C) float64 that the head at a point gives rows."""
        asked, start, logits = self._found.get(problem, (rows[:0], 0, np.empty((0, 0, 0))))
        if not (np.array_equal(asked, rows) and start <= point < start + len(logits)):
            start = point
            logits = self._logits(problem, start, rows)
            self._found[problem] = rows, start, logits
        return softmax(logits[point - start])

    def _logits(self, problem: int, start: int, rows: np.ndarray) -> np.ndarray:
        """Return the logits (p, m, C) float32 of as many points as may be held."""
        heads = self.heads[problem]
        C = len(heads[start].bias)
        most = max(1, HELD // max(1, len(self.heads) * len(rows) * C))
        heads = heads[start : start + most]
        # In double precision, as `LinearPredictor.logits` is.
        weights = np.concatenate([head.weights for head in heads], axis=1).astype(np.float64)
        bias = np.concatenate([head.bias for head in heads])
        out = np.empty((len(heads), len(rows), C), np.float32)
        for block in large.blocks_of(len(rows), 2 * self.X.shape[1]):
            some = self.X[rows[block]].astype(np.float64) @ weights + bias
            out[:, block] = some.reshape(len(some), len(heads), C).swapaxes(0, 1)
        return out


@dataclass(frozen=True)
class TogetherPoint:
    """All problems at one point of the grid.

    Attributes
    ----------
    params : dict
    held_out : HeldOut
    point : int
        Its number there.
    """

    params: dict[str, Any]
    held_out: HeldOut
    point: int

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities that problem `problem` gives `rows`, shape (len(rows), C)."""
        return self.held_out.proba(problem, self.point, rows)

    def head(self, problem: int) -> LinearPredictor:
        """Return the fitted head of problem `problem`."""
        return self.held_out.heads[problem][self.point]
