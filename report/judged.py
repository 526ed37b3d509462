"""What a run said of the images that it was scored on, and which photos show it best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..classify.runs.predictions import Predictions
from ..classify.runs.run import Run
from ..classify.scoring.intervals import Metric, allow_for_folds, size_for_mistakes, wilson
from ..classify.scoring.metrics import confusion_matrix

_BINS = 10


@dataclass(frozen=True, eq=False)
class Judged:
    """Predictions of a run, M images and C classes.

    Attributes
    ----------
    run : Run
    """

    run: Run

    @cached_property
    def scored(self) -> Predictions:
        """The out-of-fold predictions."""
        return self.run.predictions()

    @cached_property
    def predicted(self) -> np.ndarray:
        """Class that each image was taken for, shape (M,)."""
        return self.scored.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> np.ndarray:
        """Probability of that class, shape (M,)."""
        return self.scored.probabilities.max(axis=1).astype(np.float64)

    @cached_property
    def wrong(self) -> np.ndarray:
        """Rows of the mistakes, the most confident first."""
        rows = np.flatnonzero(self.predicted != self.scored.label)
        return rows[np.argsort(-self.confidence[rows], kind="stable")]

    @cached_property
    def confusion(self) -> np.ndarray:
        """Images by true and predicted class, shape (C, C)."""
        return confusion_matrix(self.scored.label, self.predicted, len(self.run.class_names))

    @cached_property
    def folds(self) -> int:
        """In how many folds they were scored."""
        return len(np.unique(self.scored.fold))

    def cell(self, true: int, predicted: int, most: int) -> np.ndarray:
        """Return up to `most` rows of a cell of the confusion matrix.

        Mistakes come with the most confident first, right ones with the least confident.
        """
        here = (self.scored.label == true) & (self.predicted == predicted)
        rows = np.flatnonzero(here)
        sign = 1 if true == predicted else -1
        return rows[np.argsort(sign * self.confidence[rows], kind="stable")][:most]

    def reliability(self) -> list[tuple[float, Metric, int]]:
        """Return mean confidence, share of right ones, and images, by bins of confidence."""
        right = self.predicted == self.scored.label
        bins = np.minimum((self.confidence * _BINS).astype(int), _BINS - 1)
        group = np.unique(self.scored.group, return_inverse=True)[1].reshape(-1)
        found = []
        for k in np.unique(bins):
            here = bins == k
            share = float(right[here].mean())
            own = np.unique(group[here], return_inverse=True)[1].reshape(-1)
            size = size_for_mistakes(~right[here], own) if not right[here].all() else own.max() + 1
            metric = allow_for_folds({"": wilson(share, max(1.0, float(size)))}, self.folds)[""]
            found.append((float(self.confidence[here].mean()), metric, int(here.sum())))
        return found

    def said(self) -> Mapping[str, str]:
        """Return what is said of each image, by path: ``cats 0.98``."""
        names = self.run.class_names
        return {
            path: f"{names[c]} {p:.2f}"
            for path, c, p in zip(self.scored.path, self.predicted, self.confidence, strict=True)
        }
