"""Weights that let rare classes count for as much as common ones."""

from __future__ import annotations

import numpy as np

from ...errors import FitError


def class_weights(
    y: np.ndarray, class_weight: str | None, taken: np.ndarray | None = None
) -> np.ndarray:
    """Return a factor for each image, shape (N,): ones, or N / (C * images of its class).

    Only images of the mask `taken` are counted, so that those held out say nothing.

    Raises
    ------
    FitError
        If `class_weight` is neither None nor ``"balanced"``.

    Examples
    --------
    >>> import numpy as np
    >>> class_weights(np.array([0, 0, 0, 1]), "balanced").round(2).tolist()
    [0.67, 0.67, 0.67, 2.0]
    """
    if class_weight is None:
        return np.ones(len(y))
    if class_weight != "balanced":
        raise FitError(f"unknown class weight: {class_weight!r}.", "Use balanced, or none.")
    counts = np.bincount(y if taken is None else y[taken], minlength=y.max() + 1)
    return (counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1)))[y]
