"""What `tlx embed` computes again and what it never does, and its files read by strangers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.cache.store import FeatureStore
from tlx.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()


# Nothing stale, nothing twice


@pytest.fixture
def small(real_project, run_tlx, tmp_path) -> Path:
    """A folder of 24 images with their features in the workspace."""
    shutil.copytree(real_project.folder / "data", tmp_path / "data")
    shutil.copytree(real_project.folder / ".tlx", tmp_path / ".tlx")
    (tmp_path / ".tlx" / "datasets" / "data.h5").unlink()  # it tells of the other folder
    run_tlx("embed", "data", cwd=tmp_path)
    return tmp_path


def told(run_tlx: Callable, folder: Path, *options: object) -> dict:
    return json.loads(run_tlx("embed", "data", *options, "--json", cwd=folder).stdout)


@pytest.mark.parametrize(
    "options",
    [("--fit", "crop"), pytest.param(("--interpolation", "bicubic"), marks=pytest.mark.slow)],
    ids=str,
)
def test_another_way_to_fit_the_image_is_no_hit(options, small, run_tlx):
    other = told(run_tlx, small, *options)
    assert (other["embedded"], other["reused"]) == (24, 0)
    assert told(run_tlx, small, *options)["reused"] == 24
    assert told(run_tlx, small)["reused"] == 24


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (("--backbone", "MobileNetV2", "--weights", "none"), {"backbone", "weights"}),
        (("--layer", "block9_add"), {"layer"}),
        (("--pooling", "max"), {"pooling"}),
        (("--pooling", "none"), {"pooling", "dtype"}),
        (("--image-size", "192"), {"image_size"}),
        (("--precision", "bfloat16", "--engine", "tensorflow"), {"precision"}),
    ],
    ids=["network", "layer", "pooling", "maps", "size", "precision"],
)
def test_another_network_or_tap_is_no_hit(options, fields, small, run_tlx):
    first, other = told(run_tlx, small), told(run_tlx, small, *options)
    assert (other["embedded"], other["reused"]) == (24, 0)
    assert other["fingerprint"] != first["fingerprint"]
    differing = {key for key, value in other["spec"].items() if value != first["spec"][key]}
    assert fields <= differing
    assert differing == fields or "backbone" in fields
    assert told(run_tlx, small, *options)["reused"] == 24


@pytest.mark.slow
def test_views_are_no_hit(small, run_tlx):
    assert told(run_tlx, small, "--views", 1)["views_embedded"] == 24
    again = told(run_tlx, small, "--views", 2)
    assert (again["embedded"], again["views_embedded"], again["reused"]) == (0, 24, 24)


@pytest.mark.slow
def test_rehash_finds_an_edit_in_place_with_size_and_time_restored(small, run_tlx):
    path = small / "data" / "amber" / "0003.png"
    status, old = path.stat(), path.read_bytes()
    new = (small / "data" / "blue" / "0000.png").read_bytes()
    size = max(len(old), len(new))
    path.write_bytes(old.ljust(size, b"\0"))  # bytes behind the end of a PNG change nothing
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert told(run_tlx, small)["embedded"] == (1 if size != len(old) else 0)
    path.write_bytes(new.ljust(size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert told(run_tlx, small)["embedded"] == 0
    found = told(run_tlx, small, "--rehash")
    assert found["embedded"] + found["reused"] == 24
    manifest = Manifest.load(small / ".tlx/datasets/data.h5")
    row = manifest.path.index("amber/0003.png")
    assert manifest.digest_bytes()[row] == hashlib.sha256(path.read_bytes()).digest()


def test_moving_renaming_and_copying_cost_no_embedding(small, run_tlx):
    data = small / "data"
    (data / "amber" / "0000.png").rename(data / "blue" / "moved.png")
    (data / "amber" / "0001.png").rename(data / "amber" / "renamed.png")
    shutil.copy2(data / "amber" / "0002.png", data / "amber" / "copy.png")
    found = told(run_tlx, small)
    assert (found["embedded"], found["reused"]) == (0, 25)
    assert found["classes"] == {"amber": 12, "blue": 13}
    spec = Manifest.load(small / ".tlx" / "datasets" / "data.h5").sources[-1]["spec"]
    assert len(FeatureStore(small / ".tlx" / "cache", spec).digests()) == 24


# What the system may lack


def test_no_lock_is_asked_for_and_none_stands_in_the_way(small, run_tlx):
    """As on a file system without locks, and beside a program that holds them all."""
    fcntl = pytest.importorskip("fcntl")
    files = [open(path, "rb") for path in small.rglob("*.h5")]  # noqa: SIM115
    try:
        for file in files:
            fcntl.flock(file, fcntl.LOCK_EX)
        assert "All is well" in run_tlx("cache", "verify", cwd=small).stdout
        run_tlx("predict", "logreg-1", "data/amber/0000.png", cwd=small)
        run_tlx("embed", "data", cwd=small)
    finally:
        for file in files:
            file.close()


# The page on the format


def page_reader() -> Callable[[Path], dict[bytes, np.ndarray]]:
    (code,) = re.findall(r"```python\n(import.*?)```", PAGE, re.DOTALL)
    names: dict = {}
    exec(code, names)
    return names["read_shard"]


def test_a_reader_written_from_the_page_alone_finds_what_tlx_says(small, run_tlx):
    """From manifest to spec folder to shards, and from a run's head to a probability."""
    root = small / ".tlx"
    with h5py.File(root / "datasets" / "data.h5") as file:
        assert (file.attrs["format"], file.attrs["version"]) == ("tlx-manifest", 3)
        paths = [path.rstrip(b"\0").decode() for path in file["path"][:]]
        digests = [row.tobytes() for row in file["digest"][:]]
        source = json.loads(file["sources"][-1].rstrip(b"\0"))
    canonical = json.dumps(json.loads(source["spec"]), sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(canonical.encode()).hexdigest() == source["fingerprint"]
    features: dict[bytes, np.ndarray] = {}
    for shard in (root / "cache" / source["fingerprint"]).iterdir():
        if not shard.name.startswith(".") and shard.suffix == ".h5":
            features |= page_reader()(shard)
    X = np.stack([features[row] for row in digests])
    assert all(
        hashlib.sha256((small / "data" / path).read_bytes()).digest() == row
        for path, row in zip(paths, digests, strict=True)
    )
    run_tlx("cache", "export", "out.h5", cwd=small)
    with h5py.File(small / "out.h5") as file:
        assert np.array_equal(file["features"][:], X)
        assert file["path"].asstr()[:].tolist() == paths

    folder = root / "runs" / "logreg-1"
    info = json.loads((folder / "run.json").read_text())
    assert (info["format"], info["version"]) == ("tlx-run", 2)
    for part, sha256 in info["parts"].items():
        assert hashlib.sha256((folder / part).read_bytes()).hexdigest() == sha256
    with h5py.File(folder / "head.h5") as file:
        logits = X[:1] @ file["weights"][:] + file["bias"][:]
    share = np.exp(logits - logits.max())
    (row,) = json.loads(
        run_tlx("predict", "logreg-1", f"data/{paths[0]}", "--json", cwd=small).stdout
    )["predictions"]
    assert list(row["probabilities"]) == info["class_names"]
    np.testing.assert_allclose(
        list(row["probabilities"].values()), (share / share.sum())[0], atol=1e-5
    )
    assert Workspace(root).load_manifest("data").path == paths


# Parts


def test_parts_are_told_and_make_no_data_set(project, tlx):
    told = [
        json.loads(tlx("embed", "data", "--part", f"{n}/2", "--json", cwd=project).stdout)
        for n in (1, 2)
    ]
    assert [one["part"] for one in told] == ["1/2", "2/2"]
    assert sum(one["images"] for one in told) == told[0]["dataset_images"] == 37
    text = tlx("embed", "data", "--part", "1/2", cwd=project).stdout
    assert f"part 1/2: {told[0]['images']} of 37 images in data set 'data'" in text
    assert "command without --part makes the data set" in text
    whole = json.loads(tlx("embed", "data", "--json", cwd=project).stdout)
    assert (whole["part"], whole["images"], whole["dataset_images"]) == (None, 37, 37)
    shown = tlx("embed", "data", "--part", "5/4", cwd=project, code=1).stderr
    assert shown == (
        "Error: '5/4' is no part of a data set.\n"
        "Use its number and how many there are, from 1/16 to 16/16 where there are sixteen.\n"
    )
