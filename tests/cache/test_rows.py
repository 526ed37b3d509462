"""Random access to stored rows."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.cache.identity import canonical_json
from tlx.cache.rows import RowReader
from tlx.cache.store import FeatureStore
from tlx.errors import DataError, FormatError


@pytest.fixture
def stored(tmp_path):
    """Return a store of 40 feature maps in two shards, with their digests and values."""
    rng = np.random.default_rng(0)
    store = FeatureStore(tmp_path, canonical_json({"dtype": "float16"}))
    digests = [rng.bytes(32) for _ in range(40)]
    values = rng.standard_normal((40, 3, 3, 8)).astype(np.float16)
    for part in (slice(0, 25), slice(25, 40)):
        with store.writer() as writer:
            for digest, value in zip(digests[part], values[part], strict=True):
                writer.add(digest, value)
    return store, digests, values


def test_rows_come_in_the_order_asked_for(stored):
    store, digests, values = stored
    order = np.random.default_rng(1).permutation(40)
    reader = RowReader(store, digests)
    assert np.array_equal(reader.read(order), values[order])


def test_an_image_may_stand_twice_in_the_list(stored):
    store, digests, values = stored
    reader = RowReader(store, [digests[3], digests[30], digests[3]])
    assert np.array_equal(reader.read([0, 1, 2]), values[[3, 30, 3]])


def test_it_reads_what_gather_reads(stored):
    store, digests, _ = stored
    assert np.array_equal(RowReader(store, digests).read(range(40)), store.gather(digests))


def test_an_image_that_is_not_stored_is_named_at_once(stored):
    store, digests, _ = stored
    with pytest.raises(DataError, match="1 of 41 images have no features"):
        RowReader(store, [*digests, bytes(32)])


def test_a_row_that_rots_after_the_reader_was_made_is_refused(stored):
    store, digests, values = stored
    reader = RowReader(store, digests)
    for shard in store.shards():
        data = shard.read_bytes()
        place = data.find(values[3].tobytes())
        if place >= 0:
            shard.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
    with pytest.raises(FormatError, match="fails its checksum"):
        reader.read([3])
