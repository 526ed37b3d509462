"""Which digests occur again: as a set of them would tell, without one."""

from __future__ import annotations

import numpy as np

from tlx.cache.copies import count_distinct, maybe_repeated, short_keys


def drawn(n: int, different: int) -> np.ndarray:
    """Return n digests of so many different ones; they differ in few bytes only."""
    digests = np.zeros((different, 32), np.uint8)
    digests[:, [3, 30]] = np.stack(np.divmod(np.arange(different), 256), 1)
    return digests[np.random.default_rng(0).integers(0, different, n)]


def test_digests_that_occur_again_are_told():
    digests = drawn(2000, 3000)
    texts = [row.tobytes() for row in digests]
    expected = [texts.count(text) > 1 for text in texts]
    assert maybe_repeated(short_keys(digests)).tolist() == expected


def test_different_digests_are_counted_once():
    digests = drawn(2000, 3000)
    assert count_distinct(short_keys(digests)) == len({row.tobytes() for row in digests})


def test_of_no_digest_nothing_is_told():
    none = short_keys(np.zeros((0, 32), np.uint8))
    assert (maybe_repeated(none).tolist(), count_distinct(none)) == ([], 0)
