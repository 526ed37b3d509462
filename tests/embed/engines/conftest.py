"""What the tests of engines share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tlx.embed.backbones.registry import get_backbone

sys.path.insert(0, str(Path(__file__).parent))  # for engine_helpers


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Keep converted models of one module together, away from the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("TLX_CACHE_DIR", str(folder))
    yield folder
    patch.undo()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Return the folder of converted models of one test."""
    monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def lite0():
    return get_backbone("efficientnet-lite0")
