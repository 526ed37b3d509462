"""Where features do not fit into memory several times: how many are too many, and samples of them.

Below `MEMORY` features are an array, and copied where that is quickest. Above it they are mapped
from a file, and everything works on blocks of rows: what is held of features beside that file does
not grow with the images. What is known of each image (path, digest, label, weights) does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MEMORY = 2**28  # bytes of features that may be copied: 52,428 images of 1,280 numbers
BLOCK = 2**23  # numbers in a block of rows: 32 MB
TALL = 8  # so many rows a column at least; 10,240 of 1,280
SAMPLE = 20_000  # images on which the strength of a penalty is chosen where all are too many
LEARNED = 50_000  # images that a head learns from which cannot work on blocks


def is_large(X: np.ndarray) -> bool:
    """Return whether features are to be worked on in blocks of rows.

    So they are not where they are large by their columns, such as flattened maps: products of those
    take more room than the rows do.

    Examples
    --------
    >>> is_large(np.zeros((300, 4), np.float32))
    False
    """
    return are_large(*X.shape)


def are_large(n: int, columns: int) -> bool:
    """Return whether so many rows of so many numbers are."""
    return 4 * n * columns > MEMORY and n > TALL * columns


def blocks_of(n: int, columns: int) -> Iterator[slice]:
    """Yield slices over n rows of so many numbers, each block about 32 MB in single precision."""
    stride = max(1, BLOCK // max(1, columns))
    return (slice(start, min(start + stride, n)) for start in range(0, n, stride))


def draw_rows(rows: np.ndarray, groups: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Return about n of `rows`, whole groups of them at random, in increasing order.

    Parameters
    ----------
    rows : ndarray of shape (m,), int
    groups : ndarray of shape (N,), int
        Of all rows. A group is drawn with all its members among `rows`, unless it has more than n.
    n : int
    seed : int, default=0

    Examples
    --------
    >>> draw_rows(np.arange(6), np.array([0, 0, 1, 1, 2, 2]), 4, seed=1).tolist()
    [0, 1, 2, 3]
    """
    if len(rows) <= n:
        return np.sort(rows)
    _, group = np.unique(groups[rows], return_inverse=True)
    size = np.bincount(group)
    order = np.random.default_rng(seed).permutation(len(size))
    order = order[size[order] <= n]
    drawn = order[np.cumsum(size[order]) <= n]
    taken = np.zeros(len(size), bool)
    taken[drawn] = True
    return np.sort(rows[taken[group]])
