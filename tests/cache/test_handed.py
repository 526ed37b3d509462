"""Shards that another process hands over."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.cache.files import owner
from tlx.cache.handed import drop_handed, hand_over, read_handed, take_over
from tlx.cache.shard import shard_bytes
from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.errors import FormatError, StorageError

SPEC = FeatureSpec("drawn", "random:0", "none", 8).json
DIGESTS = np.arange(3 * 32, dtype=np.uint8).reshape(3, 32)
FEATURES = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path, SPEC)


@pytest.fixture
def handed(store):
    return hand_over(store.folder, owner(), shard_bytes(SPEC, DIGESTS, FEATURES))


def test_what_is_handed_over_is_not_seen_before_it_is_taken(store, handed):
    assert store.digests() == set()
    rows = read_handed(store, handed)
    shard = take_over(store, handed, rows, np.ones(3, bool))
    assert store.shards() == [shard]
    assert np.array_equal(store.gather([bytes(d) for d in DIGESTS]), FEATURES)
    assert not handed.exists()


def test_rows_that_are_there_already_are_left_out(store, handed):
    rows = read_handed(store, handed)
    take_over(store, handed, rows, np.array([True, False, True]))
    assert store.digests() == {bytes(DIGESTS[0]), bytes(DIGESTS[2])}
    assert [path.suffix for path in store.folder.iterdir()] == [".h5"]


def test_nothing_new_leaves_nothing(store, handed):
    assert take_over(store, handed, read_handed(store, handed), np.zeros(3, bool)) is None
    assert list(store.folder.iterdir()) == []


def test_damage_is_seen(store, handed):
    data = bytearray(handed.read_bytes())
    place = data.rindex(FEATURES[2].tobytes())
    data[place + 3] ^= 1
    handed.write_bytes(data)
    with pytest.raises(FormatError):
        read_handed(store, handed)


def test_a_shard_of_another_spec_is_refused(store):
    other = FeatureSpec("other", "random:0", "none", 8).json
    path = hand_over(store.folder, owner(), shard_bytes(other, DIGESTS, FEATURES))
    with pytest.raises(FormatError, match="features of another spec"):
        read_handed(store, path)


def test_what_nobody_took_is_dropped(store, handed):
    other = hand_over(store.folder, "host.1.1", b"of another")
    drop_handed(store, owner())
    assert list(store.folder.iterdir()) == [other]


def test_what_was_handed_to_a_dead_process_goes_with_the_next_pass(store):
    host = owner().split(".")[0]
    hand_over(store.folder, f"{host}.{2**22 - 1}.7", b"of a dead one")
    with store.writer():
        assert list(store.folder.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        hand_over(tmp_path / "file" / "below", owner(), b"x")
