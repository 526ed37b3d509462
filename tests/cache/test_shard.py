"""Shards: what is read is what was written, or nothing is read at all."""

import hashlib
import zlib

import h5py
import numpy as np
import pytest
from cache_helpers import DIM, OTHER_SPEC, SPEC, arrays

from tlx.cache.hdf5 import NewerFormatError
from tlx.cache.identity import canonical_json, fingerprint_of
from tlx.cache.shard import read_digests, read_rows, read_shape, read_spec, shard_bytes
from tlx.errors import FormatError


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(shard_bytes(SPEC, *arrays(range(20))))
    return path


def test_rows_come_back_bit_for_bit(shard):
    rows = read_rows(shard, SPEC)
    ids, features = arrays(range(20))
    assert np.array_equal(rows.digests, ids)
    assert rows.features.tobytes() == features.tobytes()


def test_rows_are_read_by_number(shard):
    rows = read_rows(shard, SPEC, np.array([17, 3, 17]))
    assert np.array_equal(rows.features, arrays([17, 3, 17])[1])
    assert np.array_equal(rows.digests, arrays([17, 3, 17])[0])


def test_a_row_that_is_not_there_is_an_error(shard):
    with pytest.raises(FormatError):
        read_rows(shard, SPEC, np.array([20]))


def test_no_rows_are_read_if_none_is_wanted(shard):
    rows = read_rows(shard, SPEC, np.array([], np.intp))
    assert rows.digests.shape == (0, 32)
    assert rows.features.shape == (0, DIM)


def test_rows_of_several_chunks_are_read_by_number(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(shard_bytes(SPEC, *arrays(range(40), dim=20_000)))
    with h5py.File(path) as file:
        assert file["features"].chunks[0] < 10
    rows = read_rows(path, SPEC, np.array([0, 5, 39]))
    assert np.array_equal(rows.features, arrays([0, 5, 39], dim=20_000)[1])


def test_feature_maps_of_half_precision_come_back(tmp_path):
    spec = canonical_json({"dtype": "float16"})
    maps = np.random.default_rng(0).standard_normal((5, 3, 3, 4)).astype(np.float16)
    path = tmp_path / "a.h5"
    path.write_bytes(shard_bytes(spec, arrays(range(5))[0], maps))
    rows = read_rows(path, spec)
    assert rows.features.dtype == np.float16
    assert np.array_equal(rows.features, maps)


@pytest.mark.parametrize("n", [1, 1000, 6000])
def test_the_hash_covers_all_but_the_chunks(tmp_path, n):
    data = shard_bytes(SPEC, *arrays(range(n)))
    path = tmp_path / "a.h5"
    path.write_bytes(data)
    said = dict(line.split() for line in data[:512].rstrip(b"\0").decode().splitlines())
    with h5py.File(path) as file:
        features = file["features"].id
        chunks = [features.get_chunk_info(i) for i in range(features.get_num_chunks())]
    assert int(said["size"]) == len(data)
    assert int(said["head"]) == min(c.byte_offset for c in chunks)
    assert int(said["head"]) + sum(c.size for c in chunks) == len(data)
    assert said["sha256"] == hashlib.sha256(data[512 : int(said["head"])]).hexdigest()


def test_digests_shape_and_spec_are_read_alone(shard):
    assert np.array_equal(read_digests(shard), arrays(range(20))[0])
    assert read_shape(shard) == (20, DIM)
    assert read_spec(shard) == SPEC


def test_plain_h5py_reads_a_shard(shard):
    with h5py.File(shard) as file:
        assert file.attrs["spec"] == SPEC
        assert file.attrs["fingerprint"] == fingerprint_of(SPEC)
        row = file["digest"][3].tobytes() + file["features"][3].tobytes()
        assert file["crc"][3] == zlib.crc32(row)


def test_features_of_another_spec_are_refused(shard):
    with pytest.raises(FormatError, match="features of another spec"):
        read_rows(shard, OTHER_SPEC)


def test_a_shard_of_a_newer_tlx_is_told_apart(shard):
    shard.write_bytes(shard.read_bytes().replace(b"tlx-features 1", b"tlx-features 2", 1))
    with pytest.raises(NewerFormatError, match=r"(?s)format 2.*pip install --upgrade"):
        read_rows(shard)


@pytest.mark.parametrize("length", [0, 1, 511, 512, 5000])
def test_a_truncated_shard_is_refused(shard, length):
    shard.write_bytes(shard.read_bytes()[:length])
    with pytest.raises(FormatError, match="damaged or foreign"):
        read_rows(shard)


def test_a_lengthened_shard_is_refused(shard):
    shard.write_bytes(shard.read_bytes() + b"\0")
    with pytest.raises(FormatError, match="bytes long, it should be"):
        read_rows(shard)


def test_a_missing_shard_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_rows(tmp_path / "a.h5")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(tmp_path, value):
    ids, features = arrays(range(3))
    features[1, 1] = value
    path = tmp_path / "a.h5"
    path.write_bytes(shard_bytes(SPEC, ids, features))
    with pytest.raises(FormatError, match="not a finite number"):
        read_rows(path)


def test_features_that_are_not_of_the_specs_type_are_refused(tmp_path):
    ids, features = arrays(range(3))
    path = tmp_path / "a.h5"
    path.write_bytes(shard_bytes(SPEC, ids, features.astype(np.float16)))
    with pytest.raises(FormatError, match="stored as float16"):
        read_rows(path)


def test_the_error_names_the_file_and_the_next_thing_to_do(shard):
    shard.write_bytes(b"no HDF5 at all")
    with pytest.raises(FormatError) as caught:
        read_rows(shard)
    assert str(shard) in caught.value.cause
    assert caught.value.remedy == "Run tlx embed again: its images are embedded anew."
