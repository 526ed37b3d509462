"""The index: the place of each image, kept up to date beside writers, merges and removals."""

from pathlib import Path

import pytest
from cache_helpers import SPEC, arrays, digest, digests, holds, store_of

from tlx.cache import store as store_module
from tlx.cache.index import ShardIndex
from tlx.cache.rows import RowReader
from tlx.cache.store import FeatureStore
from tlx.errors import DataError


def test_an_image_of_a_dropped_shard_is_found_in_another():
    index = ShardIndex()
    index.add(Path("a"), [b"1", b"2"])
    index.add(Path("b"), [b"2", b"3"])
    index.drop([Path("b")])
    assert index.digests == {b"1", b"2"}
    ((shard, places, rows),) = index.locate([b"3", b"2"])
    assert (shard, places.tolist(), rows.tolist()) == (Path("a"), [1], [1])


def test_a_number_is_not_given_again_while_it_is_used():
    index = ShardIndex()
    for name in "abc":
        index.add(Path(name), [name.encode()])
    index.drop([Path("b")])
    index.add(Path("d"), [b"d"])
    assert [shard.name for shard, _, _ in index.locate([b"a", b"c", b"d"])] == ["a", "c", "d"]


def test_each_shard_is_read_for_the_index_once(tmp_path, monkeypatch):
    store = store_of(tmp_path, range(5), range(5, 10))
    read = []
    original = store_module.read_digests
    monkeypatch.setattr(
        store_module, "read_digests", lambda *given: (read.append(given[0]), original(*given))[1]
    )
    for _ in range(3):
        store.gather(digests(range(10)))
        store.has(digests(range(10)))
        store.digests()
    RowReader(store, digests(range(10)))
    assert sorted(read) == store.shards()


def test_what_others_write_is_seen(tmp_path):
    store = store_of(tmp_path, range(5))
    assert holds(store, range(5))
    FeatureStore(tmp_path, SPEC).add_shard(*arrays(range(5, 10)))
    assert holds(store, range(10))


def test_what_others_merge_is_found_again(tmp_path):
    store = store_of(tmp_path, range(5), range(5, 10))
    assert holds(store, range(10))
    FeatureStore(tmp_path, SPEC).rewrite(store.shards())
    assert holds(store, range(10))


def test_what_others_remove_is_gone(tmp_path):
    store = store_of(tmp_path, range(10))
    assert holds(store, range(10))
    kept = set(digests(range(4)))
    FeatureStore(tmp_path, SPEC).rewrite(store.shards(), kept.__contains__)
    assert holds(store, range(4))
    with pytest.raises(DataError, match="6 of 10 images"):
        store.gather(digests(range(10)))


@pytest.mark.parametrize("merges", [1, 3])
def test_a_merge_while_rows_are_read_loses_nothing(tmp_path, merges):
    """Shards go between the look at the folder and the reading, several times in a row."""
    store = store_of(tmp_path, range(5), range(5, 10), range(10, 15))
    left = [merges]

    def read(shard, rows):
        if left[0]:
            left[0] -= 1
            FeatureStore(tmp_path, SPEC).rewrite(store.shards())
        return store_module.read_rows(shard, SPEC, rows).digests

    wanted = digests([14, 0, 7, 14])
    found = {}
    for _, places, ids in store.visit(wanted, read):
        found |= dict(zip(places.tolist(), map(bytes, ids), strict=True))
    assert [found[place] for place in range(4)] == wanted


def test_a_damaged_shard_is_replaced_by_another_with_the_same_images(tmp_path):
    store = store_of(tmp_path, range(10), range(10))
    bad = store.visit([digest(3)], lambda shard, rows: shard)
    ((shard, _, _),) = list(bad)
    data = bytearray(shard.read_bytes())
    data[-10] ^= 1
    shard.write_bytes(data)
    assert holds(store, range(10))
    assert len(store.problems) == 1


def test_a_damaged_shard_that_cannot_be_set_aside_is_passed_over(tmp_path, deny):
    store = store_of(tmp_path, range(5), range(5, 10))
    bad = store.shards()[0]
    bad.write_bytes(b"no shard")
    deny(store.folder, 0o555)
    for _ in range(2):
        assert len(store.digests()) == 5
    assert bad.exists()
    assert len(store.problems) == 1
