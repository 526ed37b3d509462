"""Features for other programs: one plain HDF5 file."""

import os

import h5py
import numpy as np
import pytest
from cache_helpers import DIM, SPEC, arrays, manifest_of, store_of

from tlx.cache.export import export_file
from tlx.cache.identity import fingerprint_of
from tlx.errors import DataError, StorageError


def export(manifest, folder):
    source = {"spec": SPEC, "fingerprint": fingerprint_of(SPEC)}
    return export_file(folder / "cache", manifest, source, folder / "f.h5")


def test_h5py_alone_reads_it(tmp_path):
    store_of(tmp_path / "cache", range(10))
    done = export(manifest_of([7, 2, 5]), tmp_path)
    assert (done.images, done.shape, done.dataset) == (3, (DIM,), "data")
    with h5py.File(tmp_path / "f.h5") as file:
        assert np.array_equal(file["features"][:], arrays([7, 2, 5])[1])
        assert file["path"].asstr()[:].tolist() == ["7.jpg", "2.jpg", "5.jpg"]
        assert file["split"].asstr()[:].tolist() == ["train"] * 3
        names = file["class_names"].asstr()[:]
        assert names[file["label"][:]].tolist() == ["dog", "cat", "dog"]


def test_images_that_cannot_be_used_are_left_out(tmp_path):
    store_of(tmp_path / "cache", range(3))
    manifest = manifest_of(range(3))
    manifest.error[1] = "not an image"
    assert export(manifest, tmp_path).images == 2


def test_names_that_are_not_utf8_become_utf8(tmp_path):
    store_of(tmp_path / "cache", range(2))
    manifest = manifest_of(range(2))
    manifest.path[:] = [os.fsdecode(b"caf\xe9.jpg"), "né.jpg"]
    export(manifest, tmp_path)
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["path"].asstr()[:].tolist() == ["caf\\xe9.jpg", "né.jpg"]


def test_missing_features_leave_the_old_file_alone(tmp_path):
    (tmp_path / "f.h5").write_bytes(b"old")
    store_of(tmp_path / "cache", range(2))
    with pytest.raises(DataError, match="1 of 3 images"):
        export(manifest_of(range(3)), tmp_path)
    assert (tmp_path / "f.h5").read_bytes() == b"old"


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    store_of(tmp_path / "cache", range(2))
    (tmp_path / "f.h5").mkdir()
    with pytest.raises(StorageError, match=r"(?s)f.h5 cannot be written: .*Name another file"):
        export(manifest_of(range(2)), tmp_path)
