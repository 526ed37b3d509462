"""Care of a workspace: data sets and runs keep what they need, and others' files are checked."""

import dataclasses

import pytest
from cache_helpers import arrays, digest, holds, manifest_of, store_of

from tlx.cache.identity import fingerprint_of
from tlx.cache.manifest import Manifest
from tlx.cache.matrix import write_matrix
from tlx.cache.shard import read_digests
from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.classify.fit import fit_head
from tlx.errors import DataError, FormatError, UnknownNameError
from tlx.relabel import relabel_images
from tlx.upkeep import (
    cache_info,
    compact_cache,
    gathered_bytes,
    merge_workspace,
    prune_cache,
    prune_gathered,
    verify_cache,
)
from tlx.workspace import Workspace

SPEC = FeatureSpec("test", "random:0", "none", 8).json
OTHER_SPEC = FeatureSpec("other", "random:0", "none", 8).json


@pytest.fixture
def place(tmp_path):
    return Workspace(tmp_path / ".tlx")


@pytest.fixture
def other(tmp_path):
    return Workspace(tmp_path / "other" / ".tlx")


def store_in(cache, *shards, spec=SPEC):
    return store_of(cache, *shards, spec=spec)


def save(place, numbers, name="data", root="/data", specs=(SPEC,)):
    manifest = manifest_of(numbers, name, root)
    for spec in specs:
        manifest.record_source(fingerprint_of(spec), spec, "imagenet")
    manifest.save(place.manifest_path(name))
    return manifest


def fit(place, numbers, spec=SPEC):
    """Fit a head on these images, and leave no data set that names them."""
    save(place, numbers, name="fitted", specs=(spec,))
    run = fit_head("centroid", dataset="fitted", folds=2, workspace=place.root)
    place.manifest_path("fitted").unlink()
    return run


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
        store_in(place.cache, range(10))
        store_in(place.cache, range(3), spec=OTHER_SPEC)
        images = {report.spec["backbone"]: report.images for report in cache_info(place)}
        assert images == {"test": 10, "other": 3}


class TestVerify:
    def test_good_files_are_good(self, place):
        store_in(place.cache, range(10), range(20, 30))
        save(place, range(10))
        told = []
        found = verify_cache(place, lambda *count: told.append(count))
        assert found.ok
        assert found.specs[0].images == 20
        assert told == [(1, 2), (2, 2)]

    def test_a_damaged_feature_is_found(self, place):
        store = store_in(place.cache, range(10))
        flip(store.shards()[0])
        assert not verify_cache(place).ok

    def test_damaged_corrections_are_found(self, place):
        save(place, range(5))
        relabel_images({"0.jpg": "dog"}, workspace=place, apply=True)
        assert verify_cache(place).ok
        flip(place.corrections_path("data"))
        assert "corrections of labels" in verify_cache(place).manifests[0]

    def test_a_damaged_manifest_is_found(self, place):
        save(place, range(10))
        flip(place.manifest_path("data"))
        found = verify_cache(place)
        assert not found.ok
        assert str(place.manifest_path("data")) in found.manifests[0]


class TestCompact:
    def test_only_the_spec_asked_for_is_touched(self, place):
        store_in(place.cache, [0], [1])
        other = store_in(place.cache, [0], [1], spec=OTHER_SPEC)
        compact_cache(place, "test")
        assert len(other.shards()) == 2

    def test_an_unknown_spec_is_told_with_the_known(self, place):
        store_in(place.cache, range(3))
        with pytest.raises(UnknownNameError, match="Did you mean test"):
            compact_cache(place, "tset")


class TestPrune:
    def test_images_that_no_data_set_names_go(self, place):
        store = store_in(place.cache, range(10), range(10, 20))
        save(place, range(5))
        save(place, range(3, 8), name="more")
        (change,) = prune_cache(place)
        assert (change.images_before, change.images) == (20, 8)
        assert holds(store, range(8))

    def test_a_dry_run_tells_the_same_and_changes_nothing(self, place):
        store_in(place.cache, range(10), range(10, 20))
        save(place, range(5))
        before = content(place.root)
        (dry,) = prune_cache(place, dry_run=True)
        assert content(place.root) == before
        assert (dry.images_before, dry.images) == (20, 5)

    def test_shards_that_are_needed_whole_are_left_alone(self, place):
        store = store_in(place.cache, range(10), range(10, 20))
        save(place, range(10))
        needed = next(p for p in store.shards() if digest(0) in set(map(bytes, read_digests(p))))
        prune_cache(place)
        assert store.shards() == [needed]

    def test_what_a_run_needs_is_kept(self, place):
        store = store_in(place.cache, range(20))
        save(place, range(5))
        fit(place, range(4, 9))
        (change,) = prune_cache(place)
        assert change.kept_for_runs == 4
        assert holds(store, range(9))

    def test_what_a_run_needs_of_another_spec_is_no_reason(self, place):
        store = store_in(place.cache, range(20))
        save(place, range(5))
        store_in(place.cache, range(20), spec=OTHER_SPEC)
        fit(place, range(4, 9), spec=OTHER_SPEC)
        prune_cache(place, "test")
        assert store.digests() == set()

    def test_force_drops_what_runs_need(self, place):
        store = store_in(place.cache, range(20))
        save(place, range(5))
        fit(place, range(4, 9))
        prune_cache(place, force=True)
        assert holds(store, range(5))

    def test_a_spec_asked_for_goes_as_a_whole(self, place):
        store = store_in(place.cache, range(10))
        other = store_in(place.cache, range(10), spec=OTHER_SPEC)
        save(place, range(10))
        prune_cache(place, store.fingerprint[:8])
        assert not store.folder.exists()
        assert holds(other, range(10))

    def test_a_spec_asked_for_keeps_what_runs_need(self, place):
        store = store_in(place.cache, range(10))
        save(place, range(10))
        fit(place, range(4))
        prune_cache(place, "test")
        assert holds(store, range(4))

    def test_a_damaged_manifest_stops_it(self, place):
        store_in(place.cache, range(10))
        save(place, range(10))
        flip(place.manifest_path("data"))
        before = content(place.root)
        with pytest.raises(FormatError, match="damaged"):
            prune_cache(place)
        assert content(place.root) == before

    def test_a_damaged_run_stops_it(self, place):
        store_in(place.cache, range(10))
        save(place, range(5))
        fit(place, range(4))
        (place.runs / "centroid-1" / "run.json").write_text("{")
        with pytest.raises(FormatError, match=r"(?s)run centroid-1 needs is not known.*--force"):
            prune_cache(place)

    def test_a_run_with_damaged_predictions_stops_it(self, place):
        store_in(place.cache, range(10))
        run = fit(place, range(4))
        flip(run.folder / "predictions.h5")
        with pytest.raises(FormatError, match=r"run centroid-1 needs is not known"):
            prune_cache(place)
        assert prune_cache(place, force=True)[0].images == 0

    def test_what_was_set_aside_goes(self, place):
        store = store_in(place.cache, range(3))
        save(place, range(3))
        (store.folder / "a.h5.bad").write_bytes(b"")
        prune_cache(place)
        assert not (store.folder / "a.h5.bad").exists()
        assert holds(store, range(3))


class TestMerge:
    def test_features_and_data_sets_come_in(self, place, other):
        store_in(place.cache, range(5))
        theirs = store_in(other.cache, range(3, 8), range(8, 12))
        save(other, range(12))
        merged = merge_workspace(place, other)
        assert merged.images == {theirs.fingerprint: 7}
        assert merged.datasets == ["data"]
        assert merged.problems == []
        store = store_in(place.cache)
        assert holds(store, range(12))
        assert len(store.shards()) == 2
        assert Manifest.load(place.manifest_path("data")).path[11] == "11.jpg"

    def test_the_other_workspace_stays_as_it_is(self, place, other):
        store = store_in(other.cache, range(5), range(5, 10))
        flip(store.shards()[0])
        before = content(other.root)
        merge_workspace(place, other)
        assert content(other.root) == before

    def test_a_second_time_brings_nothing(self, place, other):
        store_in(other.cache, range(5))
        merge_workspace(place, other)
        before = content(place.root)
        assert merge_workspace(place, other).images == {}
        assert content(place.root) == before

    def test_damaged_files_are_refused_and_the_others_taken(self, place, other):
        theirs = store_in(other.cache, range(5), range(5, 10))
        flip(theirs.shards()[0])
        save(other, range(5))
        flip(other.manifest_path("data"))
        merged = merge_workspace(place, other)
        assert len(merged.problems) == 2
        assert sum(merged.images.values()) == 5
        assert merged.datasets == []

    def test_features_in_the_folder_of_another_spec_are_refused(self, place, other):
        store_in(other.cache, range(5)).folder.rename(other.cache / fingerprint_of(OTHER_SPEC))
        merged = merge_workspace(place, other)
        assert "folder of another spec" in merged.problems[0]
        assert merged.images == {}

    def test_features_of_another_shape_are_refused(self, place, other):
        store = store_in(place.cache, range(5))
        store_in(other.cache).add_shard(*arrays(range(5, 10), dim=1))
        merged = merge_workspace(place, other)
        assert "another shape" in merged.problems[0]
        assert holds(store, range(5))

    def test_what_is_there_is_listed_as_often_for_many_shards_as_for_few(
        self, place, other, monkeypatch
    ):
        listed = []
        shards = FeatureStore.shards
        monkeypatch.setattr(FeatureStore, "shards", lambda s: listed.append(s) or shards(s))
        store_in(other.cache, range(3))
        merge_workspace(place, other)
        few = len(listed)
        store_in(other.cache, *(range(n, n + 2) for n in range(3, 23, 2)))
        listed.clear()
        merge_workspace(place, other)
        assert len(listed) <= few + 30  # a folder that changed just now is listed more often

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
        store_in(place.cache, range(5))
        with pytest.raises(DataError, match="this very workspace"):
            merge_workspace(place, Workspace(place.root / "."))

    def test_corrections_come_in_and_those_here_stay(self, place, other):
        for workspace in (place, other):
            save(workspace, range(5))
        relabel_images({"0.jpg": "dog"}, workspace=place, apply=True)
        relabel_images({"0.jpg": None, "2.jpg": "dog"}, workspace=other, apply=True)
        assert merge_workspace(place, other).corrections == {"data": 1}
        found = place.corrections("data").by_path
        assert {path: one.label for path, one in found.items()} == {"0.jpg": "dog", "2.jpg": "dog"}
        assert merge_workspace(place, other).corrections == {}

    def test_corrections_of_a_data_set_that_gets_another_name_come_along(self, place, other):
        save(place, range(5))
        save(other, range(5), root="/elsewhere/data")
        relabel_images({"0.jpg": "dog"}, workspace=other, apply=True)
        (name,) = merge_workspace(place, other).datasets
        assert place.load_manifest(name).label[0] == 1
        assert place.load_manifest("data").label[0] == 0

    def test_damaged_corrections_are_refused_and_the_rest_taken(self, place, other):
        save(other, range(5))
        relabel_images({"0.jpg": "dog"}, workspace=other, apply=True)
        flip(other.corrections_path("data"))
        merged = merge_workspace(place, other)
        assert "corrections of labels" in merged.problems[0]
        assert merged.datasets == ["data"]


def test_gathered_features_are_counted_and_dropped_but_not_by_a_dry_run(place):
    assert gathered_bytes(place) == prune_gathered(place) == 0
    for name in ("a1", "b2"):
        write_matrix(place.tables / f"{name}.f32", name, [arrays(range(5))[1]])
    expected = 2 * (5 * 16 * 4 + 4096)
    assert gathered_bytes(place) == expected
    assert prune_gathered(place, dry_run=True) == expected
    assert gathered_bytes(place) == expected
    assert prune_gathered(place) == expected
    assert gathered_bytes(place) == 0
