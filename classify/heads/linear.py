"""A linear head as plain arrays: what a run keeps, readable without scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .arrays import head_parts
from .head import Layers, describe

_BLOCK = 2**20  # numbers in a block of rows, so that float64 temporaries stay small


@dataclass(frozen=True, repr=False)
class LinearPredictor:
    """Logits that are linear in the features.

    Attributes
    ----------
    weights : ndarray of shape (D, C), float32
        On raw features: any scaling is folded in.
    bias : ndarray of shape (C,), float32
    """

    kind: ClassVar[str] = "linear"
    weights: np.ndarray
    bias: np.ndarray

    def __repr__(self) -> str:
        return describe(self)

    @property
    def n_features(self) -> int:
        """D."""
        return self.weights.shape[0]

    @property
    def n_classes(self) -> int:
        """C."""
        return self.weights.shape[1]

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Return ``X @ weights + bias``, shape (N, C) float64.

        In float64, as rounding in float32 makes an image's probabilities depend on how many others
        are in the same call.
        """
        weights, logits = self.weights.astype(np.float64), np.empty((len(X), len(self.bias)))
        for rows in row_blocks(X):
            logits[rows] = X[rows].astype(np.float64) @ weights + self.bias
        return logits

    def scaled(self, factor: float) -> LinearPredictor:
        """Return the head whose logits are those of this one times `factor`."""
        return LinearPredictor(
            (self.weights * factor).astype(np.float32), (self.bias * factor).astype(np.float32)
        )

    def without(self, absent: np.ndarray) -> LinearPredictor:
        """Return the head with next to no probability (1e-13 at most) for classes `absent` (C,).

        Their logits lie 30 below the mean of the others, and so at least as far below the largest.
        """
        if not absent.any():
            return self
        weights, bias = self.weights.copy(), self.bias.copy()
        weights[:, absent] = weights[:, ~absent].mean(axis=1, keepdims=True)
        bias[absent] = bias[~absent].mean() - 30
        return LinearPredictor(weights, bias)

    def dense_layers(self) -> Layers:
        """Return the head as layers of a network: a single one."""
        return ((self.weights, self.bias),)

    def parts(self) -> dict[str, bytes]:
        """Return the file that a run keeps, ``head.h5``."""
        return head_parts(
            self.kind, {"weights": np.float32(self.weights), "bias": np.float32(self.bias)}
        )

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the softmax of the logits, shape (N, C) float64."""
        return softmax(self.logits(X))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> LinearPredictor:
        """Return the head with ``weights`` and ``bias``, if they fit together."""
        weights, bias = arrays["weights"], arrays["bias"]
        if weights.ndim != 2 or bias.shape != weights.shape[1:]:
            raise ValueError(f"weights {weights.shape} and bias {bias.shape} do not fit")
        if weights.dtype != np.float32 or bias.dtype != np.float32:
            raise ValueError(f"weights are {weights.dtype} and bias is {bias.dtype}")
        return cls(weights, bias)


def average(heads: Sequence[LinearPredictor]) -> LinearPredictor:
    """Return the head whose logits are the mean of those of several."""
    weights = np.stack([head.weights for head in heads]).mean(axis=0)
    return LinearPredictor(weights, np.stack([head.bias for head in heads]).mean(axis=0))


def row_blocks(X: np.ndarray) -> list[slice]:
    """Return slices over the rows of X (N, D), each of about a million numbers."""
    stride = max(1, _BLOCK // max(1, X.shape[1]))
    return [slice(start, start + stride) for start in range(0, len(X), stride)]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return exp(logits) divided by its row sums, shape (N, C) float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    return exp / exp.sum(axis=1, keepdims=True)


def both_logits(log_odds: np.ndarray) -> np.ndarray:
    """Turn log odds of the second of two classes, (…, 1), into two logits; leave more alone."""
    if log_odds.shape[-1] > 1:
        return log_odds
    return np.concatenate([-log_odds / 2, log_odds / 2], axis=-1)
