"""What the tests of the embedding pass share: a folder of images, and a light way to embed it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tlx.embed.pipeline import embed_images
from tlx.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def data(tmp_path, class_folders) -> Path:
    return class_folders(tmp_path / "data", {"cats": 6, "dogs": 5})


@pytest.fixture
def embed(tmp_path, data, grid):
    """Return ``embed(**options)``: embed `data` into the workspace with the light engine."""

    def run(source: Path = data, **options):
        return embed_images(source, workspace=tmp_path / "ws", **{"engine": grid, **options})

    return run


@pytest.fixture
def manifest(tmp_path):
    return lambda: Workspace(tmp_path / "ws").load_manifest()


@pytest.fixture(scope="module")
def start_dask(tmp_path_factory, environment):
    """Return what starts a scheduler; all are ended with the tests of the file."""
    from dask_helpers import DaskCluster

    started = []

    def start() -> Any:
        started.append(DaskCluster(tmp_path_factory.mktemp("dask"), environment))
        return started[-1]

    yield start
    for cluster in started:
        cluster.stop()


@pytest.fixture(scope="module")
def dask_cluster(start_dask) -> Any:
    """Return a scheduler with two workers."""
    pytest.importorskip("distributed")
    cluster = start_dask()
    cluster.start_workers(2)
    return cluster
