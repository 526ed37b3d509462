"""The format as docs/format.md tells it, and files of every version that ever was."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from cache_helpers import SPEC, arrays, digests, manifest_of

from tlx.cache import manifest, shard
from tlx.cache.hdf5 import MAX_BYTES
from tlx.cache.manifest import Manifest
from tlx.cache.shard import read_rows, shard_bytes

DATA = Path(__file__).parent / "data"
PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()


@pytest.fixture
def read_shard():
    """The reader that the page shows."""
    (code,) = re.findall(r"```python\n(import.*?)```", PAGE, re.DOTALL)
    assert code.count("\n") < 25
    assert "tlx" not in code
    names: dict = {}
    exec(code, names)
    return names["read_shard"]


def test_the_readers_code_on_the_page_reads_a_shard(tmp_path, read_shard):
    (tmp_path / "a.h5").write_bytes(shard_bytes(SPEC, *arrays(range(5))))
    found = read_shard(tmp_path / "a.h5")
    assert list(found) == digests(range(5))
    assert np.array_equal(np.stack(list(found.values())), arrays(range(5))[1])


def test_the_readers_code_on_the_page_notices_damage(tmp_path, read_shard):
    data = shard_bytes(SPEC, *arrays(range(5)))
    for place in (20, 600, len(data) - 10):
        flipped = bytearray(data)
        flipped[place] ^= 1
        (tmp_path / "a.h5").write_bytes(flipped)
        with pytest.raises((ValueError, OSError)):
            read_shard(tmp_path / "a.h5")


def test_shards_of_version_1_stay_readable():
    rows = read_rows(DATA / "shard-1.h5")
    assert rows.digests.tobytes() == b"".join(digests(range(3)))
    assert np.array_equal(rows.features, np.arange(12, dtype=np.float32).reshape(3, 4) / 8)


def test_feature_maps_of_version_1_stay_readable():
    rows = read_rows(DATA / "shard-1-maps.h5", rows=np.array([1]))
    assert np.array_equal(rows.features[0], np.arange(8, 16, dtype=np.float16).reshape(2, 2, 2) / 8)


def test_manifests_of_version_1_stay_readable():
    found = Manifest.load(DATA / "manifest-1.h5")
    assert found.path == ["0.jpg", "größe.jpg", "2.jpg"]
    assert found.digest_bytes() == digests(range(3))
    assert found.usable.tolist() == [True, True, False]
    assert json.loads(found.sources[0]["spec"])["backbone"] == "efficientnet-lite0"


def test_a_split_of_version_1_has_no_fraction():
    assert Manifest.load(DATA / "manifest-1.h5").validation_fraction == 0
    assert Manifest.load(DATA / "manifest-1-split.h5").validation_fraction is None


def test_manifests_of_version_2_stay_readable():
    found = Manifest.load(DATA / "manifest-2.h5")
    assert found.split == ["train", "validation", ""]
    assert (found.validation_fraction, found.split_seed) == (0.25, 7)
    assert not found.measured.any()


def test_manifests_of_version_3_stay_readable():
    found = Manifest.load(DATA / "manifest-3.h5")
    assert found.measured.tolist() == [True, False, False]
    first = found.pictures[0]
    assert (first["brightness"], first["sharpness"]) == (1 / 16, 5 / 16)
    assert (first["format"], first["camera"], first["taken"]) == (b"JPEG", b"Pixel 8", 1.7e9)
    assert first["thumb"].ravel().tolist() == list(range(256))


@pytest.mark.parametrize("name", ["shard-1.h5", "shard-1-maps.h5"])
def test_the_readers_code_on_the_page_reads_version_1(read_shard, name):
    assert list(read_shard(DATA / name)) == digests(range(3))


def test_there_is_a_file_of_every_version():
    assert {int(p.stem.split("-")[1]) for p in DATA.glob("shard-*.h5")} == set(
        range(1, shard.VERSION + 1)
    )
    assert {int(p.stem.split("-")[1]) for p in DATA.glob("manifest-*.h5")} == set(
        range(1, manifest.VERSION + 1)
    )


def columns(title: str) -> set[str]:
    """The names in the table below a title of the page."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_page_names_what_a_shard_has(tmp_path):
    (tmp_path / "a.h5").write_bytes(shard_bytes(SPEC, *arrays(range(5))))
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == columns("A shard")
        assert all(f"`{name}`" in PAGE for name in file.attrs)


def test_the_page_names_what_a_manifest_has(tmp_path):
    manifest_of(range(3)).save(tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5") as file:
        assert set(file) == columns("A manifest")
        assert all(f"`{name}`" in PAGE for name in file.attrs)


def test_the_page_gives_the_limit_of_a_file():
    assert MAX_BYTES == 2**30
    assert "longer than 1 GiB" in PAGE
