"""How heads scale features before they penalise weights: between raw and standardised.

Dividing each feature by its standard deviation, as is usual, gives every feature the same say.
With few images that is wrong: a deviation taken from ten rows is mostly chance, and a feature that
hardly varies in them becomes noise as loud as the rest. Not scaling at all lets the largest
features decide alone. Pareto scaling [1]_ is the middle: features keep the square root of their
relative spread.

References
----------
.. [1] R. A. van den Berg et al. (2006), Centering, scaling, and transformations: improving the
   biological information content of metabolomics data, BMC Genomics 7:142.
"""

from __future__ import annotations

import numpy as np

from .linear import row_blocks


def pareto_scale(std: np.ndarray) -> np.ndarray:
    """Return what to divide features by: sqrt(std * mean std), so that their mean variance is 1.

    Parameters
    ----------
    std : ndarray of shape (..., D)
        Standard deviations; exactly 0 where a feature is constant, which then does not count.

    Returns
    -------
    ndarray of shape (..., D), float64
        Infinite for a constant feature: divided by it, the feature is gone.
    """
    std = np.asarray(std, np.float64)
    varies = std > 0
    mean = std.sum(axis=-1, keepdims=True) / np.maximum(varies.sum(axis=-1, keepdims=True), 1)
    return np.where(varies, np.sqrt(std * mean), np.inf)


def fit_scaling(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the scale, both (D,) float64, of the features X (N, D)."""
    constant = X.max(axis=0) == X.min(axis=0)  # exactly, which a sum of rounded squares is not
    mean = X.mean(axis=0, dtype=np.float64)
    variance = np.zeros(X.shape[1])
    for rows in row_blocks(X):
        centred = X[rows] - mean
        variance += np.einsum("nd,nd->d", centred, centred)
    return mean, pareto_scale(np.sqrt(np.where(constant, 0, variance) / len(X)))
