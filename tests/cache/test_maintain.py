"""Care of one store: nothing that is needed goes, whatever else is told, packed or dropped."""

import json
import os

from cache_helpers import DIM, OTHER_SPEC, SPEC, arrays, digests, holds, store_of

from tlx.cache import store as store_module
from tlx.cache.hdf5 import open_checked
from tlx.cache.identity import fingerprint_of
from tlx.cache.maintain import compact, look, prune, stores_in, verify
from tlx.cache.shard import read_digests


def flip(path, place=-10):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def content(folder):
    """Every file below a folder with its bytes."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def only_store(cache):
    (store,) = stores_in(cache)
    return store


class TestInfo:
    def test_an_empty_cache_has_no_stores(self, tmp_path):
        assert stores_in(tmp_path) == []
        assert stores_in(tmp_path / "none") == []

    def test_each_spec_is_told(self, tmp_path):
        store = store_of(tmp_path, range(10), range(5, 12))
        store_of(tmp_path, range(3), spec=OTHER_SPEC)
        assert sorted(s.fingerprint for s in stores_in(tmp_path)) == sorted(
            [fingerprint_of(SPEC), fingerprint_of(OTHER_SPEC)]
        )
        report = look(store)
        assert report.spec == json.loads(SPEC)
        assert (report.images, report.shards, report.problems) == (12, 2, [])
        assert report.bytes == sum(p.stat().st_size for p in store.shards())

    def test_a_damaged_head_is_told_and_nothing_is_changed(self, tmp_path):
        store = store_of(tmp_path, range(10), range(10, 12))
        flip(store.shards()[0], 600)
        before = content(tmp_path)
        report = look(only_store(tmp_path))
        assert len(report.problems) == 1
        assert "fails the checksum" in report.problems[0]
        assert content(tmp_path) == before

    def test_a_spec_whose_shards_are_all_damaged_is_told(self, tmp_path):
        store = store_of(tmp_path, range(10))
        flip(store.shards()[0], 600)
        report = look(only_store(tmp_path))
        assert report.fingerprint == store.fingerprint
        assert report.images == 0
        assert len(report.problems) == 1

    def test_what_was_set_aside_and_left_behind_is_told(self, tmp_path):
        store = store_of(tmp_path, range(10))
        (store.folder / "a.h5.bad").write_bytes(b"")
        (store.folder / ".a.00000000.1.1.0123abcd.tmp").write_bytes(b"")
        os.utime(store.folder / ".a.00000000.1.1.0123abcd.tmp", (1, 1))
        report = look(only_store(tmp_path))
        assert "tlx cache prune" in report.problems[0]
        assert "tlx cache compact" in report.problems[1]


class TestVerify:
    def test_good_files_are_good(self, tmp_path):
        store_of(tmp_path, range(10), range(20, 30))
        report = verify(only_store(tmp_path))
        assert report.problems == []
        assert report.images == 20

    def test_a_damaged_feature_is_found_and_nothing_is_changed(self, tmp_path):
        store = store_of(tmp_path, range(10), range(20, 30))
        flip(store.shards()[0])
        before = content(tmp_path)
        report = verify(only_store(tmp_path))
        assert str(store.shards()[0]) in report.problems[0]
        assert content(tmp_path) == before

    def test_shards_of_different_shapes_are_found(self, tmp_path):
        store_of(tmp_path, range(5)).add_shard(*arrays(range(5, 10), dim=3))
        assert "of shapes" in verify(only_store(tmp_path)).problems[0]

    def test_what_was_set_aside_is_no_problem_any_more(self, tmp_path):
        store = store_of(tmp_path, range(10))
        (store.folder / "a.h5.bad").write_bytes(b"")
        assert verify(only_store(tmp_path)).problems == []


class TestCompact:
    def test_small_shards_become_one(self, tmp_path):
        store = store_of(tmp_path, *([n] for n in range(10)))
        change = compact(only_store(tmp_path))
        assert (change.shards_before, change.shards, change.images) == (10, 1, 10)
        assert change.bytes < change.bytes_before
        assert holds(store, range(10))

    def test_copies_are_dropped(self, tmp_path):
        store = store_of(tmp_path, range(10), range(5, 15))
        compact(only_store(tmp_path))
        (shard,) = store.shards()
        assert len(store_module.read_digests(shard)) == 15
        assert holds(store, range(15))

    def test_a_second_time_changes_nothing(self, tmp_path):
        store_of(tmp_path, range(10), range(5, 15))
        compact(only_store(tmp_path))
        before = content(tmp_path)
        compact(only_store(tmp_path))
        assert content(tmp_path) == before

    def test_full_shards_are_left_alone(self, tmp_path, monkeypatch):
        for module in ("store", "maintain"):
            monkeypatch.setattr(f"tlx.cache.{module}.SHARD_BYTES", 8 * DIM * 4)
        store = store_of(tmp_path, range(8), range(8, 16), range(16, 19), range(19, 22))
        full = [p for p in store.shards() if len(store_module.read_digests(p)) == 8]
        compact(only_store(tmp_path))
        assert set(full) < set(store.shards())
        assert len(store.shards()) == 3
        assert holds(store, range(22))

    def test_a_copy_in_a_full_shard_is_dropped(self, tmp_path, monkeypatch):
        for module in ("store", "maintain"):
            monkeypatch.setattr(f"tlx.cache.{module}.SHARD_BYTES", 8 * DIM * 4)
        store = store_of(tmp_path, range(8), [7, 8])
        compact(only_store(tmp_path))
        assert sum(len(store_module.read_digests(p)) for p in store.shards()) == 9
        assert holds(store, range(9))

    def test_a_shard_with_a_damaged_row_is_set_aside_and_told(self, tmp_path):
        """Its head is good, so that nothing that lists images notices."""
        store = store_of(tmp_path, range(5), range(5, 9))
        flip(store.shards()[0])
        lost = 4 if len(read_digests(store.shards()[0])) == 4 else 5
        change = compact(only_store(tmp_path))
        assert (change.images_before, change.images) == (9, 9 - lost)
        assert "is damaged or foreign" in change.problems[0]
        assert all(verify(s).problems == [] for s in stores_in(tmp_path))

    def test_a_single_damaged_shard_is_set_aside_too(self, tmp_path):
        store = store_of(tmp_path, range(5))
        flip(store.shards()[0])
        change = compact(only_store(tmp_path))
        assert (change.images_before, change.images, change.shards) == (5, 0, 0)
        assert all(verify(s).problems == [] for s in stores_in(tmp_path))

    def test_left_temporaries_go(self, tmp_path):
        store = store_of(tmp_path, range(3))
        path = store.folder / ".a.00000000.1.1.0123abcd.tmp"
        path.write_bytes(b"")
        os.utime(path, (1, 1))
        compact(only_store(tmp_path))
        assert not path.exists()

    def test_progress_counts_each_shard_twice(self, tmp_path):
        store_of(tmp_path, range(5), range(5, 9), range(9, 11))
        told = []
        compact(only_store(tmp_path), told.append)
        assert sum(told) == 6


class TestPrune:
    def test_images_that_are_not_to_be_kept_go(self, tmp_path):
        store = store_of(tmp_path, range(10), range(10, 20))
        change = prune(store, set(digests(range(8))))
        assert (change.images_before, change.images) == (20, 8)
        assert holds(store, range(8))

    def test_a_dry_run_tells_the_same_and_changes_nothing(self, tmp_path):
        store = store_of(tmp_path, range(10), range(10, 20))
        before = content(tmp_path)
        change = prune(store, set(digests(range(8))), dry_run=True)
        assert (change.images_before, change.images) == (20, 8)
        assert content(tmp_path) == before

    def test_an_empty_store_goes(self, tmp_path):
        store = store_of(tmp_path, range(10))
        prune(store, set())
        assert not store.folder.exists()


def test_each_shard_is_opened_once(tmp_path, monkeypatch):
    store = store_of(tmp_path, range(5), range(5, 10), range(10, 15))
    opened = []
    monkeypatch.setattr(
        "tlx.cache.shard.open_checked",
        lambda path, *arguments: opened.append(path) or open_checked(path, *arguments),
    )
    assert look(store).images == 15
    assert sorted(opened) == store.shards()
    opened.clear()
    assert verify(store).images == 15
    assert sorted(opened) == store.shards()
