"""Workers of Ray, which the slow tests start on this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import cluster_helpers
import pytest
from cluster_helpers import Grid

from tlx.embed.cluster import Cluster, map_cluster
from tlx.embed.clusters.registry import find_cluster
from tlx.embed.pipeline import embed_images
from tlx.errors import DataError, MissingExtraError, TlxError


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr("tlx.embed.clusters.ray.find_spec", lambda name: object())


@pytest.mark.parametrize("rest", ["", "//host", "host:1", "//host:x", "//:1", "/"])
def test_what_is_no_address(rest):
    with pytest.raises(DataError, match=f"'ray:{rest}' names no cluster of Ray") as caught:
        find_cluster(f"ray:{rest}")
    assert "ray://HOST:PORT" in caught.value.remedy


def test_without_ray_the_command_that_installs_it_is_told(monkeypatch, data, tmp_path):
    monkeypatch.setattr("tlx.embed.clusters.ray.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="ray is not installed") as caught:
        embed_images(data, workspace=tmp_path / "ws", cluster="ray://")
    assert caught.value.remedy == "Run: pip install 'tlx-vision[ray]'"
    assert not (tmp_path / "ws").exists()


def test_a_server_that_does_not_answer(installed):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TlxError, match=f"no Ray Client server answers at {place}"):
            find_cluster(f"ray://{place}")()


@pytest.fixture
def workers_find_the_helpers(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(cluster_helpers.__file__).parent))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("workers_find_the_helpers")
def test_what_killed_workers_had_is_given_out_again(tmp_path):
    for number in (1, 4):
        (tmp_path / str(number)).touch()
    found = map_cluster("ray://", cluster_helpers.kill, str(tmp_path), range(6))
    assert sorted(found) == [(k, k) for k in range(6)]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("workers_find_the_helpers")
def test_a_data_set_is_embedded_whatever_becomes_of_workers(data, tmp_path):
    (tmp_path / "kill").touch()
    cluster = Cluster("ray://", return_features=True, part_images=2)
    result = embed_images(data, engine=Grid(tmp_path), workspace=tmp_path / "ws", cluster=cluster)
    assert (result.embedded, result.unreadable, result.engine) == (11, [], "grid")
    assert not (tmp_path / "kill").exists()
    (folder,) = (tmp_path / "ws" / "cache").iterdir()
    assert [path.suffix for path in folder.iterdir()] == [".h5"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("workers_find_the_helpers")
def test_an_error_of_the_users_making_is_told():
    with pytest.raises(DataError, match="no such thing"):
        list(map_cluster("ray://", cluster_helpers.fail, DataError("no such thing."), "x"))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
