"""Which of many digests occur again, without a Python object for each of them."""

from __future__ import annotations

import numpy as np

_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64
)  # odd, and nothing else matters of them


def short_keys(digests: np.ndarray) -> np.ndarray:
    """Return 64 bits of each of N digests, shape (N,) uint64: the same for the same digest.

    Of different ones they are the same by chance once in 2**64 pairs; who needs to be sure looks at
    the digests themselves.

    Parameters
    ----------
    digests : ndarray of shape (N, 32), uint8
    """
    words = np.ascontiguousarray(digests).view(np.uint64)
    keys = np.zeros(len(words), np.uint64)
    for word, factor in zip(words.T, _FACTORS, strict=True):
        keys += word * factor  # wraps around
    return keys


def maybe_repeated(keys: np.ndarray) -> np.ndarray:
    """Tell which of N keys occur more than once, shape (N,) bool.

    Examples
    --------
    >>> maybe_repeated(np.array([7, 3, 7], np.uint64)).tolist()
    [True, False, True]
    """
    order = np.argsort(keys)
    ordered = keys[order]
    same = ordered[1:] == ordered[:-1]
    found = np.zeros(len(keys), bool)
    found[order[1:][same]] = found[order[:-1][same]] = True
    return found


def count_distinct(keys: np.ndarray) -> int:
    """Return how many of the keys are different."""
    ordered = np.sort(keys)
    return int(len(keys) > 0) + int((ordered[1:] != ordered[:-1]).sum())
