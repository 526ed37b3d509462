"""Features of many images, mapped from a file, are those of memory; what is wrong is made anew."""

import multiprocessing

import numpy as np
import pytest

from tlx.cache.store import FeatureStore
from tlx.classify import large
from tlx.classify.sources import choose_sources
from tlx.classify.table import load_table
from tlx.errors import StorageError


@pytest.fixture
def small(add_dataset, draw):
    """A workspace with a data set of 40 images of 8 features."""
    X, y = draw(40)
    return add_dataset("drawn", X, y), X


@pytest.fixture
def many(small, monkeypatch):
    """The same, and images are too many from 20 on."""
    monkeypatch.setattr(large, "MEMORY", 20 * 8 * 4)
    monkeypatch.setattr(large, "TALL", 0)
    monkeypatch.setattr(large, "BLOCK", 7 * 8)
    return small


def files(place):
    return sorted(place.tables.iterdir()) if place.tables.exists() else []


def test_few_images_stay_in_memory(small):
    place, X = small
    table = load_table(place)
    assert not isinstance(table.X, np.memmap)
    assert np.array_equal(table.X, X)
    assert files(place) == []


def test_many_images_are_mapped_from_one_file_that_is_made_once(many):
    place, X = many
    table = load_table(place)
    assert isinstance(table.X, np.memmap)
    assert np.array_equal(table.X, X)
    (file,) = files(place)
    inode = file.stat().st_ino
    assert np.array_equal(load_table(place).X, X)
    assert [one.stat().st_ino for one in files(place)] == [inode]


def test_a_damaged_file_is_made_anew(many):
    place, X = many
    load_table(place)
    (file,) = files(place)
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(data)
    assert np.array_equal(load_table(place).X, X)
    assert np.array_equal(np.frombuffer(file.read_bytes()[: X.nbytes], "<f4"), X.ravel())


def test_other_images_have_another_file_and_the_two_latest_are_kept(many):
    place, X = many
    manifest = place.load_manifest()
    for left_out in range(4):
        part = manifest.subset(np.arange(left_out, 40))
        assert np.array_equal(load_table(place, part).X, X[left_out:])
    assert len(files(place)) == 2


def test_joined_features_and_views_have_the_same_order_as_in_memory(add_dataset, draw, monkeypatch):
    X, y = draw(30)
    for backbone in ("one", "two"):
        place = add_dataset("drawn", X * (1 + (backbone == "two")), y, backbone=backbone)
    manifest = place.load_manifest()
    one = choose_sources(manifest, None)[0]
    place = add_dataset("drawn", X, y, backbone="one")
    manifest.sources.insert(0, place.load_manifest().sources[0])
    expected = load_table(place, manifest, "one+two").X
    assert expected.shape == (30, 16)
    monkeypatch.setattr(large, "MEMORY", 0)
    monkeypatch.setattr(large, "TALL", 0)
    monkeypatch.setattr(large, "BLOCK", 64)
    assert np.array_equal(load_table(place, manifest, "one+two").X, expected)
    assert one


def test_a_full_disk_is_told_and_leaves_nothing(many, monkeypatch):
    import errno

    from tlx.cache import files as written

    place, _ = many

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(written.os, "fsync", full)
    with pytest.raises(StorageError, match=r"no space left for .*: 1,280 bytes"):
        load_table(place)
    assert files(place) == []


def test_features_that_are_gone_are_told_as_before(many):
    place, _ = many
    source = choose_sources(place.load_manifest(), None)[0]
    for shard in FeatureStore(place.cache, source["spec"]).shards():
        shard.unlink()
    with pytest.raises(Exception, match="40 of 40 images have no features"):
        load_table(place)


def _load(place):
    large.MEMORY = large.TALL = 0
    return float(np.asarray(load_table(place).X).sum())


def test_processes_that_make_the_same_file_at_once_all_have_it(small):
    place, X = small
    with multiprocessing.get_context("fork").Pool(3) as pool:
        sums = pool.map(_load, [place] * 3)
    assert sums == [float(X.sum())] * 3
    assert len(files(place)) == 1
