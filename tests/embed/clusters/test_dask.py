"""Workers of Dask, in processes of their own."""

from __future__ import annotations

import os
import socket

import cluster_helpers
import pytest
from cluster_helpers import Grid

from tlx.embed.cluster import Cluster, map_cluster
from tlx.embed.clusters.registry import find_cluster
from tlx.embed.pipeline import embed_images
from tlx.errors import DataError, MissingExtraError, TlxError

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask, as on its own loop


@pytest.mark.parametrize("rest", ["", "//", "//host", "host:8786", "//host:x", "//a b:1", "//:1"])
def test_what_is_no_address(rest):
    with pytest.raises(DataError, match=f"'dask:{rest}' names no Dask scheduler") as caught:
        find_cluster(f"dask:{rest}")
    assert "dask://HOST:PORT" in caught.value.remedy


def test_without_dask_the_command_that_installs_it_is_told(monkeypatch, data, tmp_path):
    monkeypatch.setattr("tlx.embed.clusters.dask.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="distributed is not installed") as caught:
        embed_images(data, workspace=tmp_path / "ws", cluster="dask://localhost:8786")
    assert caught.value.remedy == "Run: pip install 'tlx-vision[dask]'"
    assert not (tmp_path / "ws").exists()


def test_a_scheduler_that_does_not_answer(monkeypatch, data, tmp_path):
    monkeypatch.setattr("tlx.embed.clusters.dask.CONNECT_SECONDS", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(TlxError, match=f"no Dask scheduler answers at {place} within 1 s"):
            embed_images(data, workspace=tmp_path / "ws", cluster=f"dask://{place}")
    assert not (tmp_path / "ws").exists()


def test_a_scheduler_without_workers(start_dask, monkeypatch):
    monkeypatch.setattr("tlx.embed.clusters.dask.CONNECT_SECONDS", 1.0)
    with pytest.raises(TlxError, match="has no workers") as caught:
        find_cluster(start_dask().address)()
    assert "Start some with: dask worker tcp://127.0.0.1:" in caught.value.remedy


def test_what_a_killed_worker_had_is_given_out_again(dask_cluster, tmp_path):
    for number in (1, 4):
        (tmp_path / str(number)).touch()
    found = map_cluster(dask_cluster.address, cluster_helpers.kill, str(tmp_path), range(6))
    assert sorted(found) == [(k, k) for k in range(6)]
    assert not list(tmp_path.iterdir())


def test_a_worker_has_the_threads_that_it_was_started_with(dask_cluster):
    ((_, (cores, _, _)),) = map_cluster(dask_cluster.address, cluster_helpers.threads, None, [0])
    assert cores == 1


def test_an_error_of_the_users_making_is_told(dask_cluster):
    with pytest.raises(DataError, match="no such thing"):
        list(
            map_cluster(
                dask_cluster.address, cluster_helpers.fail, DataError("no such thing."), [0]
            )
        )


@pytest.mark.parametrize("return_features", [False, True])
def test_a_data_set_is_embedded(dask_cluster, data, tmp_path, return_features):
    cluster = Cluster(dask_cluster.address, return_features, part_images=2)
    result = embed_images(data, engine=Grid(), workspace=tmp_path / "ws", cluster=cluster)
    assert (result.embedded, result.unreadable, result.engine) == (11, [], "grid")
    (folder,) = (tmp_path / "ws" / "cache").iterdir()
    assert [path.suffix for path in folder.iterdir()] == [".h5"]
    assert os.listdir(tmp_path / "ws" / "datasets") == ["data.h5"]
