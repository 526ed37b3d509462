import json

import numpy as np
import pytest

from tlx.cache.matrix import drop_oldest, read_matrix, write_matrix

ROWS = np.arange(60, dtype=np.float32).reshape(12, 5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "a.f32"


def test_blocks_come_back_as_one_read_only_map(path):
    write_matrix(path, "key", [ROWS[:5], ROWS[5:6], ROWS[6:]])
    found = read_matrix(path, "key")
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, ROWS)
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


def test_what_was_made_of_something_else_is_not_read(path):
    assert read_matrix(path, "key") is None
    write_matrix(path, "key", [ROWS])
    assert read_matrix(path, "other") is None


@pytest.mark.parametrize("place", [0, 100, 239, 245, 240 + 4095])
def test_a_changed_byte_is_noticed(path, place):
    write_matrix(path, "key", [ROWS])
    data = bytearray(path.read_bytes())
    assert len(data) == 240 + 4096
    data[place] ^= 1
    path.write_bytes(data)
    found = read_matrix(path, "key")
    assert found is None or place >= 240  # of the padding nothing depends


@pytest.mark.parametrize("left", [0, 1, 239, 4095, 4096, 4335])
def test_a_file_that_was_cut_off_is_noticed(path, left):
    write_matrix(path, "key", [ROWS])
    path.write_bytes(path.read_bytes()[:left])
    assert read_matrix(path, "key") is None


@pytest.mark.parametrize("change", [{"rows": -12, "columns": -5}, {"rows": "12"}, {"version": 2}])
def test_a_trailer_that_makes_no_sense_is_refused(path, change):
    write_matrix(path, "key", [ROWS])
    data = path.read_bytes()
    told = {**json.loads(data[240:]), **change}
    path.write_bytes(data[:240] + json.dumps(told).encode().ljust(4096))
    assert read_matrix(path, "key") is None


def test_a_failure_on_the_way_leaves_nothing(path):
    def blocks():
        yield ROWS
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError):
        write_matrix(path, "key", blocks())
    assert list(path.parent.iterdir()) == []


def test_those_looked_at_last_are_kept(path):
    import os

    for number, name in enumerate("abc"):
        one = path.with_name(f"{name}.f32")
        write_matrix(one, name, [ROWS])
        os.utime(one, ns=(number, number))
    assert read_matrix(path, "a") is not None  # which counts as a look
    assert [one.name for one in drop_oldest(path.parent, 2)] == ["b.f32"]
