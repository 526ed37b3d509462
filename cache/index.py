"""Which shard has which image: read once from the heads of the shards, then only kept up to date.

Shards never change, so what was read of one holds as long as the file is there. An entry is a
digest and one number, about 200 bytes an image; the features themselves are never held.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Sequence
from pathlib import Path

import numpy as np

_ROW_BITS = 32


class ShardIndex:
    """The place of each image: a shard, and a row in it.

    Examples
    --------
    >>> index = ShardIndex()
    >>> index.add(Path("a.h5"), [b"cat", b"dog"])
    >>> [(shard.name, places.tolist(), rows.tolist())
    ...  for shard, places, rows in index.locate([b"dog", b"fox", b"cat"])]
    [('a.h5', [0, 2], [1, 0])]
    """

    def __init__(self) -> None:
        self._shards: dict[Path, int] = {}
        self._digests: dict[int, Sequence[bytes]] = {}
        self._places: dict[bytes, int] = {}

    @property
    def shards(self) -> KeysView[Path]:
        """The shards whose images are known."""
        return self._shards.keys()

    @property
    def digests(self) -> KeysView[bytes]:
        """The digests of all images, as a view that is not copied."""
        return self._places.keys()

    def add(self, shard: Path, digests: Sequence[bytes]) -> None:
        """Note that row i of `shard` is ``digests[i]``; of an image in two shards one will do."""
        number = max(self._digests, default=-1) + 1
        self._shards[shard], self._digests[number] = number, digests
        first = number << _ROW_BITS
        self._places.update(zip(digests, range(first, first + len(digests)), strict=True))

    def drop(self, shards: Iterable[Path]) -> None:
        """Forget `shards`; an image that another one has, too, is found there."""
        for shard in shards:
            del self._digests[self._shards.pop(shard)]
        self._places.clear()
        for number, digests in self._digests.items():
            first = number << _ROW_BITS
            self._places.update(zip(digests, range(first, first + len(digests)), strict=True))

    def locate(self, digests: Sequence[bytes]) -> list[tuple[Path, np.ndarray, np.ndarray]]:
        """Return the shards that have some of `digests`, with places among these and rows there.

        Returns
        -------
        list of (Path, ndarray of shape (m,), ndarray of shape (m,))
            What is in no shard is left out.
        """
        codes = np.fromiter((self._places.get(d, -1) for d in digests), np.int64, len(digests))
        names = {number: shard for shard, number in self._shards.items()}
        numbers = np.where(codes < 0, -1, codes >> _ROW_BITS)
        found = []
        for number in np.unique(numbers[codes >= 0]).tolist():
            places = np.flatnonzero(numbers == number)
            found.append((names[number], places, codes[places] & ((1 << _ROW_BITS) - 1)))
        return found
