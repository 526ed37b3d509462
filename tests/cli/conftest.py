"""Workspaces that all tests of the command share; who changes one copies it first."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.embed.pipeline import embed_images
from tlx.workspace import Workspace

CLASSES = ("amber", "blue", "coral")


@pytest.fixture(scope="session")
def shared_project(tmp_path_factory, class_folders, run_tlx, make_grid) -> Path:
    """Return a folder with ``data/`` of 3 x 12 images, cached light features and one run.

    One image of blue lies under amber, so that there is something to get wrong.
    """
    folder = tmp_path_factory.mktemp("project")
    data = class_folders(folder / "data", dict.fromkeys(CLASSES, 12))
    class_folders(folder / "more", {"blue": 13})
    shutil.move(folder / "more" / "blue" / "0012.png", data / "amber" / "wrong.png")
    shutil.rmtree(folder / "more")
    embed_images(data, workspace=folder / ".tlx", engine=make_grid())
    run_tlx("fit-head", cwd=folder)
    return folder


@pytest.fixture
def project(shared_project, tmp_path, make_grid) -> Path:
    """Return a copy of the shared project, to be changed."""
    copy = Path(shutil.copytree(shared_project, tmp_path / "project"))
    (copy / ".tlx" / "datasets" / "data.h5").unlink()  # it tells of the other folder
    embed_images(copy / "data", workspace=copy / ".tlx", engine=make_grid())
    return copy


class RealProject(NamedTuple):
    folder: Path
    embedded: dict


@pytest.fixture(scope="session")
def real_project(tmp_path_factory, class_folders, run_tlx) -> RealProject:
    """Return a project of 24 images that the real command embedded with the default backbone."""
    folder = tmp_path_factory.mktemp("real")
    class_folders(folder / "data", {"amber": 12, "blue": 12})
    embedded = json.loads(run_tlx("embed", "data", "--json", cwd=folder).stdout)
    run_tlx("fit-head", cwd=folder)
    return RealProject(folder, embedded)


@pytest.fixture(scope="session")
def bound() -> Callable[[], None] | None:
    """Return what a subprocess calls first so that permissions bind it, also under root.

    The two capabilities that let root pass over permissions leave the bounding set, and so the
    next exec has them no more (see ``man 7 capabilities``).
    """
    if os.geteuid() != 0:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    drop, override, read_search = 24, 1, 2  # PR_CAPBSET_DROP, CAP_DAC_…

    def drop_capabilities() -> None:
        for capability in (override, read_search):
            if libc.prctl(drop, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "cannot give up a capability of root")

    return drop_capabilities


@pytest.fixture(scope="session")
def shared_wide_project(tmp_path_factory) -> Path:
    """Return a folder whose workspace has 3,000 drawn features of 600 in 30 classes.

    A support vector machine takes minutes for them.
    """
    folder = tmp_path_factory.mktemp("wide")
    rng = np.random.default_rng(0)
    y = np.arange(3000) % 30
    X = (rng.normal(size=(30, 600))[y] + rng.normal(0, 8, (3000, 600))).astype(np.float32)
    save_features(Workspace(folder / ".tlx"), "drawn", X, y)
    return folder


@pytest.fixture
def wide_project(shared_wide_project, tmp_path) -> Path:
    """Return a copy of the wide project."""
    return Path(shutil.copytree(shared_wide_project, tmp_path / "wide"))


def save_features(workspace: Workspace, name: str, X: np.ndarray, y: np.ndarray) -> None:
    """Put features and classes into a workspace as a data set without images."""
    spec = FeatureSpec("drawn", "random:0", "none", 8)
    digests = [hashlib.sha256(f"{name} {i}".encode()).digest() for i in range(len(X))]
    with FeatureStore(workspace.cache, spec.json).writer() as writer:
        for digest, feature in zip(digests, X, strict=True):
            writer.add(digest, feature)
    n = len(X)
    manifest = Manifest(
        name=name,
        root=f"/nowhere/{name}",
        class_names=tuple(f"class {c:02}" for c in range(max(y) + 1)),
        path=[f"class {c:02}/{i}.png" for i, c in enumerate(y)],
        size=np.ones(n, np.int64),
        mtime_ns=np.ones(n, np.int64),
        label=np.asarray(y, np.int32),
        split=[""] * n,
        group=[""] * n,
        digest=np.frombuffer(b"".join(digests), np.uint8).reshape(n, 32),
        width=np.ones(n, np.int32),
        height=np.ones(n, np.int32),
        error=[""] * n,
    )
    manifest.record_source(spec.fingerprint, spec.json, "none")
    manifest.save(workspace.manifest_path(name))
