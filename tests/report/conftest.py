"""A project with real images and hostile names, which all tests of the report share."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import tlx
from tlx.cache.manifest import Manifest
from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE


@pytest.fixture(scope="session")
def studio(tmp_path_factory, class_folders, make_grid) -> Path:
    """Return a folder with ``data/`` of 3 x 14 images, a conflict among them, and three runs.

    An image of teal lies under amber, and one lies under both.
    """
    folder = tmp_path_factory.mktemp("studio")
    data = class_folders(folder / "data", {"amber": 14, "teal": 14, "x": 14})
    (data / "x").rename(data / HOSTILE.replace("/", ""))
    names = sorted((data / HOSTILE.replace("/", "")).iterdir())
    names[0].rename(names[0].with_name('"quoted" & <b>.png'))
    names[1].rename(names[1].with_name("\u202eאבג.png"))
    names[2].rename(names[2].with_name("n" * 200 + ".png"))
    shutil.move(data / "teal" / "0003.png", data / "amber" / "wrong.png")
    shutil.copy(data / "teal" / "0005.png", data / "amber" / "both.png")
    tlx.embed_images(data, workspace=folder / ".tlx", engine=make_grid())
    tlx.fit_heads(["logreg", "lda", "centroid"], workspace=folder / ".tlx")
    return folder


@pytest.fixture
def own_studio(studio, tmp_path, make_grid) -> Path:
    """Return a copy of it, to be changed."""
    copy = Path(shutil.copytree(studio, tmp_path / "studio"))
    (copy / ".tlx" / "datasets" / "data.h5").unlink()  # it tells of the other folder
    tlx.embed_images(copy / "data", workspace=copy / ".tlx", engine=make_grid())
    return copy


@pytest.fixture(scope="session")
def audit(studio):
    return tlx.audit_run(workspace=studio / ".tlx")


@pytest.fixture(scope="session")
def page_of_studio(studio, tmp_path_factory) -> bytes:
    """Return the report of the shared project."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    return tlx.write_report(output=path, workspace=studio / ".tlx").path.read_bytes()


@pytest.fixture
def save_many():
    """Return a function that puts n drawn embeddings of three classes into a workspace."""

    def save(workspace, n):
        y = np.arange(n) % 3
        rng = np.random.default_rng(0)
        X = (rng.normal(size=(3, 16))[y] + rng.normal(0, 0.3, (n, 16))).astype(np.float32)
        spec = FeatureSpec("drawn", "random:0", "none", 8)
        digests = [hashlib.sha256(f"{i}".encode()).digest() for i in range(n)]
        with FeatureStore(workspace.cache, spec.json).writer() as writer:
            for digest, feature in zip(digests, X, strict=True):
                writer.add(digest, feature)
        manifest = Manifest(
            "many", "/nowhere/many", ("a", "b", "c"), [f"{c}/{i}.png" for i, c in enumerate(y)],
            np.ones(n, np.int64), np.ones(n, np.int64), y.astype(np.int32), [""] * n, [""] * n,
        )  # fmt: skip
        manifest.digest[:] = np.frombuffer(b"".join(digests), np.uint8).reshape(n, 32)
        manifest.record_source(spec.fingerprint, spec.json, "none")
        manifest.save(workspace.manifest_path("many"))

    return save
