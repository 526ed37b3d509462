"""What the tests of the embedding pass share: a folder of images, and a light way to embed it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tlx.embed.pipeline import embed_images
from tlx.workspace import Workspace

sys.path.insert(0, str(Path(__file__).parent))

from store_helpers import KEYS, proxied


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


@pytest.fixture(scope="session")
def s3_server():
    """Return the URL of a real S3 server on loopback."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_session(s3_server):
    """Return a client of the S3 server, and a proxy before it: both start slowly."""
    pytest.importorskip("s3fs")
    import boto3

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=s3_server, **keys)
    with proxied(s3_server) as proxy:
        yield client, proxy
    client.close()


@pytest.fixture
def s3(s3_session, monkeypatch):
    """Return ``s3(bucket, files)``, which fills a bucket behind a proxy; ``s3.proxy`` is that."""
    client, proxy = s3_session
    proxy.reset()
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)

    def fill(bucket: str, files: Mapping[str, bytes]) -> None:
        client.create_bucket(Bucket=bucket)
        for name, data in files.items():
            client.put_object(Bucket=bucket, Key=name, Body=data)

    fill.client, fill.proxy = client, proxy
    return fill


@pytest.fixture
def upload(s3, request):
    """Return ``upload(folder)``, which gives the URL of a new bucket with its files."""

    def put(folder: Path) -> str:
        bucket = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:60]
        files = [path for path in folder.rglob("*") if path.is_file()]
        s3(bucket, {path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
        return f"s3://{bucket}"

    return put
