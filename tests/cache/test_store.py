"""The store: who is there, give me these, keep those, whoever else is at work."""

import time

import numpy as np
import pytest
from cache_helpers import DIM, OTHER_SPEC, SPEC, arrays, digest, digests, feature, holds, store_of

from tlx.cache import store as store_module
from tlx.cache.hdf5 import NewerFormatError
from tlx.cache.store import FeatureStore
from tlx.errors import DataError, FormatError, StorageError


def write(store, numbers, **options):
    with store.writer(**options) as writer:
        for number in numbers:
            writer.add(digest(number), feature(number))


def damage(shard):
    data = bytearray(shard.read_bytes())
    data[-10] ^= 1
    shard.write_bytes(data)


def test_an_empty_store_has_nothing(tmp_path):
    store = FeatureStore(tmp_path, SPEC)
    assert store.shards() == []
    assert store.digests() == set()
    assert store.feature_shape() is None


def test_what_was_written_is_there(tmp_path):
    write(FeatureStore(tmp_path, SPEC), range(30))
    assert holds(FeatureStore(tmp_path, SPEC), range(30))


def test_gather_keeps_order_and_repeats(tmp_path):
    store = store_of(tmp_path, range(5), range(5, 10))
    wanted = [7, 2, 7, 0, 9, 2]
    assert np.array_equal(store.gather(digests(wanted)), arrays(wanted)[1])


def test_gather_passes_over_shards_that_have_none_of_the_images(tmp_path):
    store = store_of(tmp_path, range(5), range(5, 10), range(10, 15))
    assert np.array_equal(store.gather([digest(7)]), arrays([7])[1])
    assert store.problems == []
    assert len(store.shards()) == 3


def test_gather_of_nothing_has_the_features_shape(tmp_path):
    assert store_of(tmp_path, range(5)).gather([]).shape == (0, DIM)


def test_gather_says_how_many_are_missing_and_what_to_type(tmp_path):
    store = store_of(tmp_path, range(5))
    with pytest.raises(DataError, match=r"(?s)2 of 4 images have no features.*tlx embed"):
        store.gather(digests([0, 1, 98, 99]))


def test_gather_says_that_damaged_shards_are_the_reason(tmp_path):
    store = store_of(tmp_path, range(5))
    damage(store.shards()[0])
    with pytest.raises(DataError, match="1 damaged shards were set aside"):
        store.gather(digests([0]))


def test_has_tells_for_each_image(tmp_path):
    store = store_of(tmp_path, range(5))
    assert store.has(digests([0, 99, 4, 0])).tolist() == [True, False, True, True]


def test_specs_do_not_mix(tmp_path):
    store_of(tmp_path, range(5))
    assert FeatureStore(tmp_path, OTHER_SPEC).digests() == set()
    store_of(tmp_path, range(3), spec=OTHER_SPEC)
    assert len(FeatureStore(tmp_path, SPEC).digests()) == 5
    assert len(FeatureStore(tmp_path, OTHER_SPEC).digests()) == 3


def test_a_seal_happens_at_512_rows(tmp_path):
    store = FeatureStore(tmp_path, SPEC)
    with store.writer() as writer:
        for number in range(511):
            writer.add(digest(number), feature(number))
        assert store.shards() == []
        writer.add(digest(511), feature(511))
        assert len(store.digests()) == 512


def test_a_seal_happens_when_the_time_is_up(tmp_path):
    store = FeatureStore(tmp_path, SPEC)
    with store.writer(seal_seconds=0.05) as writer:
        writer.add(digest(0), feature(0))
        assert store.shards() == []
        time.sleep(0.06)
        writer.add(digest(1), feature(1))
        assert len(store.digests()) == 2


def test_a_seal_happens_when_the_bytes_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 3 * DIM * 4)
    store = FeatureStore(tmp_path, SPEC)
    with store.writer() as writer:
        for number in range(3):
            assert store.shards() == []
            writer.add(digest(number), feature(number))
        assert len(store.digests()) == 3


def test_each_seal_is_told(tmp_path):
    told = []
    write(FeatureStore(tmp_path, SPEC), range(3), seal_seconds=0, on_seal=lambda: told.append(1))
    assert len(told) >= 3


def test_an_exception_keeps_the_rows_before_it(tmp_path):
    store = FeatureStore(tmp_path, SPEC)

    def interrupted():
        with store.writer() as writer:
            writer.add(digest(0), feature(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert holds(store, [0])


def test_a_writer_merges_its_own_shards(tmp_path):
    store = FeatureStore(tmp_path, SPEC)
    write(store, range(20), seal_seconds=0)
    assert len(store.shards()) == 1
    assert holds(store, range(20))


def test_a_writer_leaves_the_shards_of_others_alone(tmp_path):
    store = store_of(tmp_path, range(5), range(5, 10))
    others = set(store.shards())
    write(store, range(10, 20), seal_seconds=0)
    assert others < set(store.shards())
    assert len(store.shards()) == 3


def test_a_merge_keeps_to_the_size_of_a_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 8 * DIM * 4)
    store = FeatureStore(tmp_path, SPEC)
    write(store, range(20), seal_seconds=0)
    assert len(store.shards()) == 3  # 8 + 8 + 4
    assert holds(store, range(20))


def test_a_merge_survives_that_a_shard_of_the_writer_was_merged_by_another(tmp_path):
    store = FeatureStore(tmp_path, SPEC)
    with store.writer(seal_seconds=0) as writer:
        for number in range(4):
            writer.add(digest(number), feature(number))
        FeatureStore(tmp_path, SPEC).rewrite(store.shards())
    assert holds(store, range(4))


def test_a_merge_sets_a_damaged_shard_aside_and_keeps_the_others(tmp_path):
    store = FeatureStore(tmp_path, SPEC)
    with store.writer(seal_seconds=0) as writer:
        for number in range(4):
            writer.add(digest(number), feature(number))
        damage(store.shards()[0])
    assert len(store.digests()) == 3
    assert len(store.problems) == 1


def test_a_buffer_that_is_used_again_does_no_harm(tmp_path):
    store = FeatureStore(tmp_path, SPEC)
    buffer = np.empty(DIM, np.float32)
    with store.writer() as writer:
        for number in range(3):
            buffer[:] = feature(number)
            writer.add(digest(number), buffer)
    assert holds(store, range(3))


@pytest.mark.parametrize(
    ("id_", "row", "message"),
    [
        (b"short", feature(0), "32 bytes"),
        (digest(0), feature(0) * np.nan, "finite"),
        (digest(0), feature(0, 3), "must all be"),
        (digest(0), feature(0).astype(np.float16), "must all be"),
    ],
)
def test_a_writer_refuses_what_a_reader_would(tmp_path, id_, row, message):
    store = FeatureStore(tmp_path, SPEC)
    with store.writer() as writer:
        writer.add(digest(1), feature(1))
        with pytest.raises(ValueError, match=message):
            writer.add(id_, row)
    assert holds(store, [1])


def test_a_damaged_shard_is_set_aside_and_told(tmp_path):
    store = store_of(tmp_path, range(5), range(5, 10))
    bad = store.shards()[0]
    damage(bad)
    with pytest.raises(DataError):
        store.gather(digests(range(10)))
    assert not bad.exists()
    assert bad.with_suffix(".h5.bad").exists()
    assert "fail their checksum" in store.problems[0] or "damaged" in store.problems[0]
    assert len(store.digests()) == 5


def test_the_images_of_a_damaged_shard_can_be_written_again(tmp_path):
    store = store_of(tmp_path, range(5))
    damage(store.shards()[0])
    with pytest.raises(DataError):
        store.gather(digests(range(5)))
    write(store, range(5))
    assert holds(store, range(5))


def test_a_shard_of_a_newer_tlx_is_neither_read_nor_set_aside(tmp_path):
    store = store_of(tmp_path, range(5))
    shard = store.shards()[0]
    shard.write_bytes(shard.read_bytes().replace(b"tlx-features 1", b"tlx-features 9", 1))
    with pytest.raises(NewerFormatError):
        store.digests()
    assert shard.exists()


def test_shards_of_different_shapes_are_told_and_both_are_kept(tmp_path):
    store = store_of(tmp_path, range(5))
    store.add_shard(*arrays(range(5, 10), dim=1))
    with pytest.raises(FormatError, match="of shape"):
        store.gather(digests(range(10)))
    assert len(store.shards()) == 2


def test_a_reader_looks_again_when_a_merge_went_on(tmp_path):
    store = store_of(tmp_path, range(5), range(5, 10), range(10, 15))
    merged = []

    def read_and_merge(shard):
        rows = store_module.read_digests(shard, SPEC)
        if not merged:
            merged.append(True)
            FeatureStore(tmp_path, SPEC).rewrite(store.shards())
        return rows

    found = set()
    for _, ids in store.sweep(read_and_merge):
        found.update(map(bytes, ids))
    assert found == set(digests(range(15)))


def test_rewrite_drops_rows_that_are_there_twice(tmp_path):
    store = store_of(tmp_path, range(10), range(5, 15))
    assert store.rewrite(store.shards()) == 15
    assert len(store.shards()) == 1
    assert holds(store, range(15))


def test_rewrite_drops_what_is_not_to_be_kept(tmp_path):
    store = store_of(tmp_path, range(10), range(10, 20))
    kept = set(digests(range(5)))
    store.rewrite(store.shards(), kept.__contains__)
    assert holds(store, range(5))


def test_rewrite_that_keeps_nothing_leaves_nothing(tmp_path):
    store = store_of(tmp_path, range(10))
    store.rewrite(store.shards(), lambda digest: False)
    assert store.shards() == []


def test_rewrite_in_small_pieces_keeps_all_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 7 * DIM * 4)
    store = store_of(tmp_path, range(1), range(1, 20), range(15, 22), range(22, 24), range(24, 60))
    store.rewrite(store.shards())
    assert len(store.shards()) == 9  # 60 rows by 7
    assert holds(store, range(60))


def test_a_failing_rewrite_removes_nothing(tmp_path):
    store = store_of(tmp_path, range(10), range(10, 20))
    before = store.shards()
    store.add_shard = lambda *rows: (_ for _ in ()).throw(StorageError("disk full"))
    with pytest.raises(StorageError):
        store.rewrite(before)
    assert store.shards() == before


def test_two_rewrites_of_overlapping_shards_lose_nothing(tmp_path):
    """The one starts when the other has read everything and removed nothing yet."""
    store = store_of(tmp_path, range(10), range(5, 15))
    other = FeatureStore(tmp_path, SPEC)
    shards = store.shards()
    add = store.add_shard

    def other_first(*rows):
        other.rewrite(reversed(shards))
        return add(*rows)

    store.add_shard = other_first
    store.rewrite(shards)
    assert holds(store, range(15))
    store = FeatureStore(tmp_path, SPEC)
    store.rewrite(store.shards())
    assert holds(store, range(15))
    assert len(store.shards()) == 1


def test_a_clock_that_goes_backwards_does_no_harm(tmp_path, monkeypatch):
    wall = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(wall)))
    store = FeatureStore(tmp_path, SPEC)
    write(store, range(5), seal_seconds=0)
    write(store, range(5, 9), seal_seconds=0)
    assert holds(store, range(9))
