"""Real servers on loopback, of a run on drawn photos."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tlx.classify.fit import fit_head
from tlx.embed.pipeline import embed_images

sys.path.insert(0, str(Path(__file__).parent))  # for serving_helpers

pytest.importorskip("fastapi", reason="the extra serve is not installed")
pytest.importorskip("prometheus_client", reason="the extra serve is not installed")

from serving_helpers import Server, start


@pytest.fixture(scope="session")
def photos(tmp_path_factory, class_folders, make_grid) -> Path:
    """Return a folder with ``data/`` of 2 x 60 images and a workspace with the run ``colours``."""
    folder = tmp_path_factory.mktemp("served")
    data = class_folders(folder / "data", {"amber": 60, "blue": 60})
    embed_images(data, workspace=folder / ".tlx", engine=make_grid())
    fit_head("logreg", workspace=folder / ".tlx", name="colours")
    return folder


@pytest.fixture(scope="session")
def run_folder(photos) -> Path:
    """Return the folder of that run."""
    return photos / ".tlx" / "runs" / "colours"


@pytest.fixture(scope="session")
def amber(photos) -> bytes:
    """Return one photo."""
    return (photos / "data" / "amber" / "0000.png").read_bytes()


@pytest.fixture(scope="session")
def start_server(run_folder, environment, tmp_path_factory) -> Iterator[Callable[..., Server]]:
    """Return ``start_server(**settings)``; whatever still runs in the end is killed."""
    script = tmp_path_factory.mktemp("script") / "server_of_tests.py"
    started: list[Server] = []

    def begin(**settings: Any) -> Server:
        started.append(start(run_folder, environment, script, **settings))
        return started[-1]

    yield begin
    for server in started:
        server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="session")
def served(start_server) -> Server:
    """Return a server that asks for nothing and rejects what it does not know."""
    return start_server(reject=0.3, seconds=2)
