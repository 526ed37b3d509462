"""What the tests of the embedding pass share: a folder of images, and a light way to embed it."""

from __future__ import annotations

import sys
from pathlib import Path

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
