"""Care of the cache: nothing that is needed goes, whatever else is told, packed or dropped."""

import dataclasses
import json
import os

import h5py
import numpy as np
import pytest
from cache_helpers import (
    DIM,
    OTHER_SPEC,
    SPEC,
    arrays,
    digest,
    digests,
    holds,
    manifest_of,
    store_of,
)

from tlx.cache import store as store_module
from tlx.cache.identity import fingerprint_of
from tlx.cache.maintain import (
    cache_info,
    compact_cache,
    export_features,
    merge_workspace,
    prune_cache,
    verify_cache,
)
from tlx.cache.manifest import Manifest
from tlx.cache.shard import read_digests
from tlx.errors import DataError, FormatError, UnknownNameError
from tlx.workspace import Workspace


@pytest.fixture
def place(tmp_path):
    return Workspace(tmp_path / ".tlx")


@pytest.fixture
def other(tmp_path):
    return Workspace(tmp_path / "other" / ".tlx")


def save(place, numbers, name="data", root="/data", specs=(SPEC,)):
    manifest = manifest_of(numbers, name, root)
    for spec in specs:
        manifest.record_source(fingerprint_of(spec), spec, "imagenet")
    manifest.save(place.manifest_path(name))
    return manifest


def save_run(place, numbers, spec=SPEC, name="logreg-1"):
    folder = place.runs / name
    folder.mkdir(parents=True)
    info = {"sources": [{"fingerprint": fingerprint_of(spec)}]}
    (folder / "run.json").write_text(json.dumps(info))
    numbers = list(numbers)
    with h5py.File(folder / "predictions.h5", "w") as file:
        file["digest"] = arrays(numbers[:1])[0]
        file["trained_on"] = arrays(numbers)[0]


def flip(path, place=-10):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def content(folder):
    """Every file below a folder with its bytes."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class TestInfo:
    def test_an_empty_workspace_has_no_specs(self, place):
        assert cache_info(place) == []

    def test_each_spec_is_told(self, place):
        store = store_of(place.cache, range(10), range(5, 12))
        store_of(place.cache, range(3), spec=OTHER_SPEC)
        reports = {r.fingerprint: r for r in cache_info(place)}
        report = reports[fingerprint_of(SPEC)]
        assert report.spec == json.loads(SPEC)
        assert (report.images, report.shards, report.problems) == (12, 2, [])
        assert report.bytes == sum(p.stat().st_size for p in store.shards())
        assert reports[fingerprint_of(OTHER_SPEC)].images == 3

    def test_a_damaged_head_is_told_and_nothing_is_changed(self, place):
        store = store_of(place.cache, range(10), range(10, 12))
        flip(store.shards()[0], 600)
        before = content(place.root)
        (report,) = cache_info(place)
        assert len(report.problems) == 1
        assert "fails the checksum" in report.problems[0]
        assert content(place.root) == before

    def test_a_spec_whose_shards_are_all_damaged_is_told(self, place):
        store = store_of(place.cache, range(10))
        flip(store.shards()[0], 600)
        (report,) = cache_info(place)
        assert report.fingerprint == store.fingerprint
        assert report.images == 0
        assert len(report.problems) == 1

    def test_what_was_set_aside_and_left_behind_is_told(self, place):
        store = store_of(place.cache, range(10))
        (store.folder / "a.h5.bad").write_bytes(b"")
        (store.folder / ".a.00000000.1.1.0123abcd.tmp").write_bytes(b"")
        os.utime(store.folder / ".a.00000000.1.1.0123abcd.tmp", (1, 1))
        (report,) = cache_info(place)
        assert "tlx cache prune" in report.problems[0]
        assert "tlx cache compact" in report.problems[1]


class TestVerify:
    def test_good_files_are_good(self, place):
        store_of(place.cache, range(10), range(20, 30))
        save(place, range(10))
        found = verify_cache(place)
        assert found.ok
        assert found.specs[0].images == 20

    def test_a_damaged_feature_is_found_and_nothing_is_changed(self, place):
        store = store_of(place.cache, range(10), range(20, 30))
        flip(store.shards()[0])
        before = content(place.root)
        found = verify_cache(place)
        assert not found.ok
        assert str(store.shards()[0]) in found.specs[0].problems[0]
        assert content(place.root) == before

    def test_a_damaged_manifest_is_found(self, place):
        save(place, range(10))
        flip(place.manifest_path("data"))
        found = verify_cache(place)
        assert not found.ok
        assert str(place.manifest_path("data")) in found.manifests[0]

    def test_shards_of_different_shapes_are_found(self, place):
        store_of(place.cache, range(5)).add_shard(*arrays(range(5, 10), dim=3))
        assert "of shapes" in verify_cache(place).specs[0].problems[0]

    def test_what_was_set_aside_is_no_problem_any_more(self, place):
        store = store_of(place.cache, range(10))
        (store.folder / "a.h5.bad").write_bytes(b"")
        assert verify_cache(place).ok


class TestCompact:
    def test_small_shards_become_one(self, place):
        store = store_of(place.cache, *([n] for n in range(10)))
        (change,) = compact_cache(place)
        assert (change.shards_before, change.shards, change.images) == (10, 1, 10)
        assert change.bytes < change.bytes_before
        assert holds(store, range(10))

    def test_copies_are_dropped(self, place):
        store = store_of(place.cache, range(10), range(5, 15))
        compact_cache(place)
        (shard,) = store.shards()
        assert len(store_module.read_digests(shard)) == 15
        assert holds(store, range(15))

    def test_a_second_time_changes_nothing(self, place):
        store_of(place.cache, range(10), range(5, 15))
        compact_cache(place)
        before = content(place.root)
        compact_cache(place)
        assert content(place.root) == before

    def test_full_shards_are_left_alone(self, place, monkeypatch):
        for module in ("store", "maintain"):
            monkeypatch.setattr(f"tlx.cache.{module}.SHARD_BYTES", 8 * DIM * 4)
        store = store_of(place.cache, range(8), range(8, 16), range(16, 19), range(19, 22))
        full = [p for p in store.shards() if len(store_module.read_digests(p)) == 8]
        compact_cache(place)
        assert set(full) < set(store.shards())
        assert len(store.shards()) == 3
        assert holds(store, range(22))

    def test_a_copy_in_a_full_shard_is_dropped(self, place, monkeypatch):
        for module in ("store", "maintain"):
            monkeypatch.setattr(f"tlx.cache.{module}.SHARD_BYTES", 8 * DIM * 4)
        store = store_of(place.cache, range(8), [7, 8])
        compact_cache(place)
        assert sum(len(store_module.read_digests(p)) for p in store.shards()) == 9
        assert holds(store, range(9))

    def test_a_shard_with_a_damaged_row_is_set_aside_and_told(self, place):
        """Its head is good, so that nothing that lists images notices."""
        store = store_of(place.cache, range(5), range(5, 9))
        flip(store.shards()[0])
        lost = 4 if len(read_digests(store.shards()[0])) == 4 else 5
        (change,) = compact_cache(place)
        assert (change.images_before, change.images) == (9, 9 - lost)
        assert "is damaged or foreign" in change.problems[0]
        assert verify_cache(place).ok

    def test_a_single_damaged_shard_is_set_aside_too(self, place):
        store = store_of(place.cache, range(5))
        flip(store.shards()[0])
        (change,) = compact_cache(place)
        assert (change.images_before, change.images, change.shards) == (5, 0, 0)
        assert verify_cache(place).ok

    def test_only_the_spec_asked_for_is_touched(self, place):
        store_of(place.cache, [0], [1])
        other = store_of(place.cache, [0], [1], spec=OTHER_SPEC)
        compact_cache(place, "test")
        assert len(other.shards()) == 2

    def test_left_temporaries_go(self, place):
        store = store_of(place.cache, range(3))
        path = store.folder / ".a.00000000.1.1.0123abcd.tmp"
        path.write_bytes(b"")
        os.utime(path, (1, 1))
        compact_cache(place)
        assert not path.exists()

    def test_an_unknown_spec_is_told_with_the_known(self, place):
        store_of(place.cache, range(3))
        with pytest.raises(UnknownNameError, match="Did you mean test"):
            compact_cache(place, "tset")


class TestPrune:
    def test_images_that_no_data_set_names_go(self, place):
        store = store_of(place.cache, range(10), range(10, 20))
        save(place, range(5))
        save(place, range(3, 8), name="more")
        (change,) = prune_cache(place)
        assert (change.images_before, change.images) == (20, 8)
        assert holds(store, range(8))

    def test_a_dry_run_tells_the_same_and_changes_nothing(self, place):
        store_of(place.cache, range(10), range(10, 20))
        save(place, range(5))
        before = content(place.root)
        (dry,) = prune_cache(place, dry_run=True)
        assert content(place.root) == before
        assert (dry.images_before, dry.images) == (20, 5)

    def test_shards_that_are_needed_whole_are_left_alone(self, place):
        store = store_of(place.cache, range(10), range(10, 20))
        save(place, range(10))
        needed = next(
            p for p in store.shards() if digest(0) in set(map(bytes, store_module.read_digests(p)))
        )
        prune_cache(place)
        assert store.shards() == [needed]

    def test_what_a_run_needs_is_kept(self, place):
        store = store_of(place.cache, range(20))
        save(place, range(5))
        save_run(place, range(4, 9))
        (change,) = prune_cache(place)
        assert change.kept_for_runs == 4
        assert holds(store, range(9))

    def test_what_a_run_needs_of_another_spec_is_no_reason(self, place):
        store = store_of(place.cache, range(20))
        save(place, range(5))
        save_run(place, range(4, 9), spec=OTHER_SPEC)
        prune_cache(place)
        assert holds(store, range(5))

    def test_force_drops_what_runs_need(self, place):
        store = store_of(place.cache, range(20))
        save(place, range(5))
        save_run(place, range(4, 9))
        prune_cache(place, force=True)
        assert holds(store, range(5))

    def test_a_spec_asked_for_goes_as_a_whole(self, place):
        store = store_of(place.cache, range(10))
        other = store_of(place.cache, range(10), spec=OTHER_SPEC)
        save(place, range(10))
        prune_cache(place, store.fingerprint[:8])
        assert not store.folder.exists()
        assert holds(other, range(10))

    def test_a_spec_asked_for_keeps_what_runs_need(self, place):
        store = store_of(place.cache, range(10))
        save(place, range(10))
        save_run(place, range(3))
        prune_cache(place, "test")
        assert holds(store, range(3))

    def test_a_damaged_manifest_stops_it(self, place):
        store_of(place.cache, range(10))
        save(place, range(10))
        flip(place.manifest_path("data"))
        before = content(place.root)
        with pytest.raises(FormatError, match="damaged"):
            prune_cache(place)
        assert content(place.root) == before

    def test_a_damaged_run_stops_it(self, place):
        store_of(place.cache, range(10))
        save(place, range(5))
        save_run(place, range(3))
        (place.runs / "logreg-1" / "run.json").write_text("{")
        with pytest.raises(FormatError, match=r"(?s)run logreg-1 needs is not known.*--force"):
            prune_cache(place)

    def test_what_was_set_aside_goes(self, place):
        store = store_of(place.cache, range(3))
        save(place, range(3))
        (store.folder / "a.h5.bad").write_bytes(b"")
        prune_cache(place)
        assert not (store.folder / "a.h5.bad").exists()
        assert holds(store, range(3))


class TestMerge:
    def test_features_and_data_sets_come_in(self, place, other):
        store_of(place.cache, range(5))
        theirs = store_of(other.cache, range(3, 8), range(8, 12))
        save(other, range(12))
        merged = merge_workspace(place, other)
        assert merged.images == {theirs.fingerprint: 7}
        assert merged.datasets == ["data"]
        assert merged.problems == []
        store = store_of(place.cache)
        assert holds(store, range(12))
        assert len(store.shards()) == 2
        assert Manifest.load(place.manifest_path("data")).path[11] == "11.jpg"

    def test_the_other_workspace_stays_as_it_is(self, place, other):
        store = store_of(other.cache, range(5), range(5, 10))
        flip(store.shards()[0])
        before = content(other.root)
        merge_workspace(place, other)
        assert content(other.root) == before

    def test_a_second_time_brings_nothing(self, place, other):
        store_of(other.cache, range(5))
        merge_workspace(place, other)
        before = content(place.root)
        assert merge_workspace(place, other).images == {}
        assert content(place.root) == before

    def test_damaged_files_are_refused_and_the_others_taken(self, place, other):
        theirs = store_of(other.cache, range(5), range(5, 10))
        flip(theirs.shards()[0])
        save(other, range(5))
        flip(other.manifest_path("data"))
        merged = merge_workspace(place, other)
        assert len(merged.problems) == 2
        assert sum(merged.images.values()) == 5
        assert merged.datasets == []

    def test_features_in_the_folder_of_another_spec_are_refused(self, place, other):
        store_of(other.cache, range(5)).folder.rename(other.cache / fingerprint_of(OTHER_SPEC))
        merged = merge_workspace(place, other)
        assert "folder of another spec" in merged.problems[0]
        assert merged.images == {}

    def test_features_of_another_shape_are_refused(self, place, other):
        store = store_of(place.cache, range(5))
        store_of(other.cache).add_shard(*arrays(range(5, 10), dim=1))
        merged = merge_workspace(place, other)
        assert "another shape" in merged.problems[0]
        assert holds(store, range(5))

    def test_a_data_set_of_the_same_name_and_folder_is_left_as_it_is(self, place, other):
        save(place, range(5))
        save(other, range(9))
        assert merge_workspace(place, other).left_out == ["data"]
        assert len(Manifest.load(place.manifest_path("data"))) == 5

    def test_a_data_set_of_the_same_name_from_another_folder_gets_another_name(self, place, other):
        save(place, range(5))
        save(other, range(9), root="/elsewhere/data")
        (name,) = merge_workspace(place, other).datasets
        assert name.startswith("data-")
        assert len(place.load_manifest(name)) == 9
        assert merge_workspace(place, other).left_out == ["data"]

    def test_the_data_set_embedded_last_stays_the_default(self, place, other):
        save(other, range(9), name="older")
        save(place, range(5))
        merge_workspace(place, other)
        assert place.dataset_names() == ["older", "data"]

    def test_a_manifest_that_lies_about_its_name_is_refused(self, place, other):
        manifest = save(other, range(5))
        dataclasses.replace(manifest, name="../../evil").save(other.manifest_path("data"))
        merged = merge_workspace(place, other)
        assert "says that it is data set '../../evil'" in merged.problems[0]
        assert merged.datasets == []

    def test_no_workspace_is_told(self, place, tmp_path):
        with pytest.raises(DataError, match="is no workspace"):
            merge_workspace(place, Workspace(tmp_path))

    def test_the_same_workspace_is_told(self, place):
        store_of(place.cache, range(5))
        with pytest.raises(DataError, match="this very workspace"):
            merge_workspace(place, Workspace(place.root / "."))


class TestExport:
    def test_h5py_alone_reads_it(self, place, tmp_path):
        store_of(place.cache, range(10))
        save(place, [7, 2, 5])
        done = export_features(place, tmp_path / "f.h5")
        assert (done.images, done.shape, done.dataset) == (3, (DIM,), "data")
        with h5py.File(tmp_path / "f.h5") as file:
            assert np.array_equal(file["features"][:], arrays([7, 2, 5])[1])
            assert file["path"].asstr()[:].tolist() == ["7.jpg", "2.jpg", "5.jpg"]
            assert file["split"].asstr()[:].tolist() == ["train"] * 3
            names = file["class_names"].asstr()[:]
            assert names[file["label"][:]].tolist() == ["dog", "cat", "dog"]

    def test_images_that_cannot_be_used_are_left_out(self, place, tmp_path):
        store_of(place.cache, range(3))
        manifest = save(place, range(3))
        manifest.error[1] = "not an image"
        manifest.save(place.manifest_path("data"))
        assert export_features(place, tmp_path / "f.h5").images == 2

    def test_names_that_are_not_utf8_become_utf8(self, place, tmp_path):
        store_of(place.cache, range(2))
        manifest = save(place, range(2))
        manifest.path[:] = [os.fsdecode(b"caf\xe9.jpg"), "né.jpg"]
        manifest.save(place.manifest_path("data"))
        export_features(place, tmp_path / "f.h5")
        with h5py.File(tmp_path / "f.h5") as file:
            assert file["path"].asstr()[:].tolist() == ["caf\\xe9.jpg", "né.jpg"]

    def test_the_spec_can_be_chosen(self, place, tmp_path):
        store_of(place.cache, range(3))
        store_of(place.cache, range(3), spec=OTHER_SPEC)
        save(place, range(3), specs=(SPEC, OTHER_SPEC))
        assert export_features(place, tmp_path / "a").fingerprint == fingerprint_of(OTHER_SPEC)
        done = export_features(place, tmp_path / "b", spec="test")
        assert done.fingerprint == fingerprint_of(SPEC)

    def test_missing_features_leave_the_old_file_alone(self, place, tmp_path):
        (tmp_path / "f.h5").write_bytes(b"old")
        store_of(place.cache, range(2))
        save(place, range(3))
        with pytest.raises(DataError, match="1 of 3 images"):
            export_features(place, tmp_path / "f.h5")
        assert (tmp_path / "f.h5").read_bytes() == b"old"
        assert digests(range(2))
