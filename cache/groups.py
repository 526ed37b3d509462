"""Which images of a data set belong together and are not independent of each other."""

from __future__ import annotations

import numpy as np

from .manifest import Manifest


def group_images(manifest: Manifest) -> np.ndarray:
    """Return the group of each image as a number, shape (N,) int64.

    Two images are of one group if they have the same bytes or the same ``group``, directly or
    through others: a copy of one patient's image ties that patient to another.
    """
    parent = list(range(len(manifest)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[object, int] = {}
    for row, (digest, group) in enumerate(
        zip(manifest.digest_bytes(), manifest.group, strict=True)
    ):
        for key in (digest, group) if group else (digest,):
            parent[find(row)] = find(first.setdefault(key, row))
    roots = [find(row) for row in range(len(manifest))]
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)
