"""Workers that are killed, halted, of another kind or blind, and clients that are killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from cluster_helpers import Grid

from tlx import __version__
from tlx.cache.shard import read_rows
from tlx.embed.cluster import Cluster
from tlx.embed.pipeline import embed_images
from tlx.errors import TlxError
from tlx.workspace import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
HELPERS = Path(__file__).parent


@pytest.fixture(scope="module")
def many(tmp_path_factory, class_folders) -> Path:
    return class_folders(tmp_path_factory.mktemp("many") / "many", {"cats": 80, "dogs": 80})


@pytest.fixture(scope="module")
def alone(many, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    embed_images(many, engine=Grid(), workspace=folder)
    return contents(folder)


def contents(folder: Path):
    """Return all rows and the manifest, and assert that nothing is there twice or left behind."""
    workspace, rows = Workspace(folder), {}
    for shard in workspace.cache.rglob("*"):
        if shard.is_file():
            assert shard.suffix == ".h5", f"{shard} is left"
            for digest, feature in zip(*read_rows(shard), strict=True):
                assert digest.tobytes() not in rows, "an image is there twice"
                rows[digest.tobytes()] = feature.tobytes()
    manifest = workspace.load_snapshot()
    return rows, manifest.path, manifest.error, manifest.digest.tobytes()


class Killer(threading.Thread):
    """Kills workers at random moments, so many times."""

    def __init__(self, pids: Path, times: int) -> None:
        super().__init__(daemon=True)
        self.pids, self.left, self.random = pids, times, random.Random(7)

    def run(self) -> None:
        while self.left:
            time.sleep(self.random.uniform(0.1, 1.0))
            found = sorted(self.pids.iterdir())
            if found:
                one = self.random.choice(found)
                one.unlink(missing_ok=True)
                try:
                    os.kill(int(one.name), signal.SIGKILL)
                    self.left -= 1
                except ProcessLookupError:
                    pass


@pytest.mark.parametrize(("kind", "times"), [("processes", 20), ("dask", 20), ("ray", 5)])
def test_workers_killed_at_random_moments(kind, times, many, alone, tmp_path, request, monkeypatch):
    if kind == "processes":
        address = "processes:3"
    elif kind == "dask":
        cluster = request.getfixturevalue("start_dask")()
        cluster.start_workers(3)
        address = cluster.address
    else:
        pytest.importorskip("ray")
        monkeypatch.setenv("PYTHONPATH", str(HELPERS))
        address = "ray://"
    (tmp_path / "pids").mkdir()
    killer = Killer(tmp_path / "pids", times)
    killer.start()
    passes = 0
    while killer.left:
        passes += 1
        folder = tmp_path / f"ws-{passes}"
        for _ in range(10):  # as a user would, where an image had bad luck three times
            result = embed_images(
                many,
                engine=Grid(tmp_path, seconds=0.02),
                workspace=folder,
                cluster=Cluster(address, part_images=8),
            )
            if not result.unreadable:
                break
            assert all("tried three times" in bad["reason"] for bad in result.unreadable)
        assert contents(folder) == alone
        assert passes < 100


def test_a_halted_worker_of_dask_is_not_waited_for(many, alone, tmp_path, start_dask):
    cluster = start_dask()
    cluster.start_workers(2)
    (tmp_path / "stop").touch()
    result = embed_images(
        many,
        engine=Grid(tmp_path),
        workspace=tmp_path / "ws",
        cluster=Cluster(cluster.address, part_images=8, deadline=5.0),
    )
    assert (result.embedded, result.unreadable) == (160, [])
    assert not (tmp_path / "stop").exists()
    assert contents(tmp_path / "ws") == alone


def test_a_halted_process_is_ended_and_not_waited_for(many, alone, tmp_path):
    (tmp_path / "stop").touch()
    result = embed_images(
        many,
        engine=Grid(tmp_path),
        workspace=tmp_path / "ws",
        cluster=Cluster("processes:2", part_images=8, deadline=5.0),
    )
    assert (result.embedded, result.unreadable) == (160, [])
    assert contents(tmp_path / "ws") == alone


def test_a_worker_of_another_version_is_refused(many, tmp_path, start_dask):
    cluster = start_dask()
    (tmp_path / "sitecustomize.py").write_text("import tlx\ntlx.__version__ = '0.0.1'\n")
    path = f"{HELPERS}:{tmp_path}"
    cluster.start_workers(1, PYTHONPATH=path)
    with pytest.raises(TlxError, match=r"worker tcp://.* has tlx 0.0.1, and here is") as caught:
        embed_images(many, engine=Grid(), workspace=tmp_path / "ws", cluster=cluster.address)
    assert caught.value.remedy == f"Run there: pip install tlx-vision=={__version__}"
    assert not (tmp_path / "ws").exists()


def test_workers_that_do_not_see_the_workspace_return_features(many, alone, tmp_path, start_dask):
    """They have a file system of their own, in which its folder is empty and cannot be written."""
    unshare = shutil.which("unshare")
    workspace = tmp_path / "ws"
    workspace.mkdir()
    hide = f'mount -t tmpfs -o ro none "{workspace}" && exec "$@"'
    prefix = (unshare or "unshare", "--mount", "sh", "-c", hide, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file systems can be mounted here")
    cluster = start_dask()
    cluster.start_workers(2, prefix=prefix)
    result = embed_images(many, engine=Grid(), workspace=workspace, cluster=cluster.address)
    assert (result.embedded, result.unreadable) == (160, [])
    assert contents(workspace) == alone


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_a_client_that_is_killed_and_started_again(kind, many, alone, tmp_path, start_dask):
    address = "processes:2"
    if kind == "dask":
        cluster = start_dask()
        cluster.start_workers(2)
        address = cluster.address
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from cluster_helpers import Grid\n"
        "from tlx.embed.cluster import Cluster\n"
        "from tlx.embed.pipeline import embed_images\n"
        "embed_images(sys.argv[2], engine=Grid(seconds=0.03), workspace=sys.argv[3],\n"
        "    cluster=Cluster(sys.argv[4], part_images=8), checkpoint_seconds=0.5)\n"
    )
    arguments = [HELPERS, many, tmp_path / "ws", address]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    for seconds in np.random.default_rng(5).uniform(4.0, 7.0, 4):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    subprocess.run(command, check=True, timeout=120)
    assert not list((tmp_path / "ws").glob(".*"))
    assert contents(tmp_path / "ws") == alone
