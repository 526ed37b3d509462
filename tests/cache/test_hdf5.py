"""Files made to do harm, each with a good user block: refused in one line, at once."""

import dataclasses
import hashlib
import os
import time
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from cache_helpers import SPEC, arrays, manifest_of

from tlx.cache import hdf5
from tlx.cache.hdf5 import USER_BLOCK, memory_file, sealed_file, sealed_image
from tlx.cache.identity import fingerprint_of
from tlx.cache.manifest import Manifest
from tlx.cache.shard import read_rows, row_crcs, shard_bytes
from tlx.errors import DataError, FormatError

N, DIM = 4, 8


def good(file):
    """Fill in all that a shard has."""
    ids, features = arrays(range(N), DIM)
    file.attrs["spec"], file.attrs["fingerprint"] = SPEC, fingerprint_of(SPEC)
    file["digest"], file["crc"] = ids, row_crcs(ids, features)
    file.create_dataset("features", data=features, chunks=(2, DIM), fletcher32=True)


def forge(tmp_path, change):
    """Return the path of a shard that `change` was let loose on before it was sealed."""
    with memory_file(USER_BLOCK) as file:
        good(file)
        change(file)
        data = sealed_image(file, "tlx-features", 1)
    path = tmp_path / "forged.h5"
    path.write_bytes(data)
    return path


def replaced(name, value=None, **options):
    def change(file):
        del file[name]
        if value is not None or options:
            file.create_dataset(name, data=value, **options)

    return change


def link(name, target):
    def change(file):
        del file[name]
        file[name] = target

    return change


def group(file):
    del file["features"]
    file.create_group("features")


def virtual(file):
    del file["features"]
    layout = h5py.VirtualLayout((N, DIM), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (N, DIM))
    file.create_virtual_dataset("features", layout)


def external(file):
    del file["features"]
    file.create_dataset(
        "features", (N, DIM), np.float32, external=[("/etc/passwd", 0, N * DIM * 4)]
    )


def attribute(name, value):
    def change(file):
        if value is None:
            del file.attrs[name]
        else:
            file.attrs[name] = value

    return change


def spec_of(text):
    def change(file):
        file.attrs["spec"], file.attrs["fingerprint"] = text, fingerprint_of(text)

    return change


COMPOUND = np.zeros((N, DIM), [("a", np.float32), ("b", np.float32)])
VARYING = h5py.vlen_dtype(np.float32)
FLOATS = np.zeros((N, DIM), np.float32)
HUGE = {"shape": (10**12, DIM), "dtype": np.float32, "chunks": (2, DIM)}
WIDE = {"shape": (N, 10**9), "dtype": np.float32, "chunks": (1, 1024)}
COARSE = {"shape": (N, DIM), "dtype": np.float32, "chunks": (2**26, DIM), "maxshape": (None, DIM)}

SHARDS = {
    "an external link": (link("features", h5py.ExternalLink("/etc/passwd", "x")), "no plain data"),
    "a soft link": (link("features", h5py.SoftLink("/crc")), "no plain data set"),
    "a soft link to nowhere": (link("digest", h5py.SoftLink("/none")), "no plain data set"),
    "a group": (group, "not a data set"),
    "a virtual data set": (virtual, "refers to other files"),
    "external storage": (external, "refers to other files"),
    "10^12 rows": (replaced("features", **HUGE), r"claims 32,000,000,000,000 bytes"),
    "10^9 columns": (replaced("features", **WIDE), "claims 16,000,000,000 bytes"),
    "a chunk of 2 GiB": (replaced("features", **COARSE), "claims 2,147,483,648 bytes"),
    "10^12 digests": (replaced("digest", shape=(10**12, 32), dtype="u1", chunks=(1, 32)), "claims"),
    "gzip": (replaced("features", FLOATS, compression="gzip"), "through a filter"),
    "shuffle": (replaced("features", FLOATS, shuffle=True), "through a filter"),
    "scale-offset": (replaced("features", FLOATS, scaleoffset=3), "through a filter"),
    "a gzip bomb of digests": (
        replaced("digest", np.zeros((100_000, 32), "u1"), compression="gzip"),
        "through a filter",
    ),
    "strings": (replaced("features", shape=(N, DIM), dtype=h5py.string_dtype()), "varying length"),
    "vlen rows": (replaced("features", shape=(N, DIM), dtype=VARYING), "varying length"),
    "compounds": (replaced("features", COMPOUND), "features of shape"),
    "references": (replaced("features", shape=(N, DIM), dtype=h5py.ref_dtype), "varying length"),
    "float64": (replaced("features", FLOATS.astype(np.float64)), "features of shape"),
    "big-endian": (replaced("features", FLOATS.astype(">f4")), "features of shape"),
    "an empty data space": (replaced("features", h5py.Empty("f4")), "is empty"),
    "a scalar": (replaced("features", np.float32(1)), "features of shape"),
    "one dimension": (replaced("features", np.zeros(N, np.float32)), "features of shape"),
    "more features than digests": (replaced("features", np.zeros((9, 8), "f4")), "features of sh"),
    "digests of another width": (replaced("digest", np.zeros((N, 20), "u1")), "'digest' has shape"),
    "digests of text": (replaced("digest", np.zeros((N, 32), "S1")), "'digest' has shape"),
    "fewer checksums": (replaced("crc", np.zeros(2, "u4")), "'crc' has shape"),
    "checksums of 64 bits": (replaced("crc", np.zeros(N, "u8")), "'crc' has shape"),
    "wrong checksums": (replaced("crc", np.zeros(N, "u4")), "4 of 4 rows fail their checksum"),
    "no features": (replaced("features"), "no plain data set"),
    "a wrong fingerprint": (attribute("fingerprint", "0" * 64), "does not have its fingerprint"),
    "no fingerprint": (attribute("fingerprint", None), "no attribute 'fingerprint'"),
    "no spec": (attribute("spec", None), "no attribute 'spec'"),
    "a spec of numbers": (attribute("spec", 7), "does not have its fingerprint"),
    "a spec of many": (attribute("spec", [SPEC, SPEC]), "no single number or text"),
    "a spec of raw bytes": (attribute("spec", np.void(b"x" * 60_000)), "no single number or text"),
    "an empty spec": (attribute("spec", h5py.Empty("f4")), "no single number or text"),
    "a spec that is no JSON": (spec_of("{"), "damaged or foreign"),
    "a spec that is no object": (spec_of("[1]"), "no canonical JSON object"),
    "a spec with spaces": (spec_of('{"a": 1}'), "no canonical JSON object"),
    "a spec of deep brackets": (spec_of("[" * 50_000), "damaged or foreign"),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_hostile_shard_is_refused_at_once(tmp_path, name):
    change, message = SHARDS[name]
    path = forge(tmp_path, change)
    started = time.monotonic()
    with pytest.raises(FormatError, match=message) as caught:
        read_rows(path)
    assert time.monotonic() - started < 1
    assert "\n" not in caught.value.cause
    assert str(path) in caught.value.cause


def test_a_huge_attribute_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "forged.h5"
    with h5py.File(path, "w", libver="latest", userblock_size=USER_BLOCK) as file:
        good(file)
        file.attrs["spec"] = np.bytes_(b"x" * 10**6)
    rest = path.read_bytes()[USER_BLOCK:]
    size = USER_BLOCK + len(rest)
    path.write_bytes(block(size, size, hashlib.sha256(rest).hexdigest()) + rest)
    with pytest.raises(FormatError, match="attribute 'spec' is too long"):
        read_rows(path)


def test_the_forger_forges_well(tmp_path):
    assert len(read_rows(forge(tmp_path, lambda file: None), SPEC).features) == N


def block(size=None, head=None, sha="0" * 64, first="tlx-features 1"):
    text = f"{first}\nsize {size}\nhead {head}\nsha256 {sha}\n"
    return text.encode().ljust(USER_BLOCK, b"\0")


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (600, 601),
        (600, -1),
        (600, 511),
        (600, 10**30),
        ("x", 600),
        (600, "x"),
        ("", ""),
        (600, 600),
    ],
)
def test_a_user_block_that_lies_is_refused(tmp_path, size, head):
    path = tmp_path / "a.h5"
    path.write_bytes(block(size, head).ljust(600, b"\0"))
    with pytest.raises(FormatError):
        read_rows(path)


def test_a_sparse_file_of_a_terabyte_is_refused_at_once(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(block(2**40, 2**40))
    try:
        os.truncate(path, 2**40)
    except OSError:
        pytest.skip("this file system has no sparse files of this size")
    started = time.monotonic()
    with pytest.raises(FormatError, match="cannot be"):
        read_rows(path)
    assert time.monotonic() - started < 1


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.h5")
    with pytest.raises(FormatError, match="no regular file"):
        read_rows(tmp_path / "a.h5")


def test_a_device_is_refused(tmp_path):
    (tmp_path / "a.h5").symlink_to("/dev/zero")
    with pytest.raises(FormatError, match="no regular file"):
        read_rows(tmp_path / "a.h5")


def test_the_content_of_another_file_is_not_told(tmp_path):
    (tmp_path / "secret").write_text("hunter2\n" * 100)
    (tmp_path / "a.h5").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError) as caught:
        read_rows(tmp_path / "a.h5")
    assert "hunter2" not in str(caught.value)


def test_what_a_reader_would_refuse_is_not_written(monkeypatch):
    monkeypatch.setattr(hdf5, "MAX_BYTES", 30_000)
    with pytest.raises(DataError, match="at most 30,000 are allowed"):
        shard_bytes(SPEC, *arrays(range(1000)))


def forged_manifest(tmp_path, monkeypatch, change):
    """Save a manifest whose columns `change` was let loose on before it was sealed."""

    @contextmanager
    def sealed(*arguments):
        with sealed_file(*arguments) as file:
            yield file
            change(file)

    monkeypatch.setattr("tlx.cache.manifest.sealed_file", sealed)
    manifest_of(range(5)).save(tmp_path / "data.h5")
    return tmp_path / "data.h5"


TEXT = h5py.string_dtype()
MANIFESTS = {
    "an external link": link("path", h5py.ExternalLink("/etc/passwd", "x")),
    "10^12 images": replaced("size", shape=(10**12,), dtype="i8", chunks=(8,)),
    "strings of any length": replaced("path", ["x"] * 5, dtype=TEXT),
    "gzip": replaced("path", np.zeros(5, "S100"), compression="gzip"),
    "digests of another width": replaced("digest", np.zeros((5, 20), "u1")),
    "labels of floats": replaced("label", np.zeros(5, "f4")),
    "two dimensions": replaced("path", np.zeros((5, 2), "S1")),
    "sources that are no JSON": replaced("sources", np.array([b"{"])),
    "sources without a spec": replaced("sources", np.array([b"{}"])),
    "sources that are no objects": replaced("sources", np.array([b"[1]"])),
    "a fingerprint of another spec": replaced(
        "sources", np.array([b'{"fingerprint":"0","spec":"{}","weights":"imagenet"}'])
    ),
    "a name of many": attribute("name", ["a", "b"]),
    "no root": attribute("root", None),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_refused_at_once(tmp_path, monkeypatch, name):
    path = forged_manifest(tmp_path, monkeypatch, MANIFESTS[name])
    started = time.monotonic()
    with pytest.raises(FormatError, match="damaged or foreign"):
        Manifest.load(path)
    assert time.monotonic() - started < 1


def test_the_forger_of_manifests_forges_well(tmp_path, monkeypatch):
    path = forged_manifest(tmp_path, monkeypatch, lambda file: None)
    assert dataclasses.asdict(Manifest.load(path))["name"] == "data"
