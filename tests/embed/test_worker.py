"""What a worker does with a part, and which jobs it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cluster_helpers import Grid

from tlx import __version__
from tlx.cache.files import owner
from tlx.cache.handed import read_handed
from tlx.cache.store import FeatureStore
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.images import DECODER_REVISION
from tlx.embed.pipeline import make_spec
from tlx.embed.worker import Job, Wanted, check_spec, embed_part
from tlx.errors import TlxError


@pytest.fixture(scope="module")
def spec():
    return make_spec(get_backbone("efficientnet-lite0"), image_size=64)


@pytest.fixture
def job(tmp_path, spec):
    """Return ``job(**changes)``."""

    def make(**changes):
        token = tmp_path / "token"
        token.write_text(owner())
        wanted = Wanted(spec.json, "imagenet", Grid(), (b"",))
        whole = Job((wanted,), b"", str(tmp_path / "cache"), str(token), owner())
        return dataclasses.replace(whole, **changes)

    return make


@pytest.fixture
def files(data):
    return [str(path) for path in sorted(data.rglob("*.png"))]


def test_a_worker_that_sees_the_workspace_hands_its_shard_over(job, files, tmp_path, spec):
    result = embed_part(job(), files)
    (path,), (rows,) = result.shards, result.rows
    handed = read_handed(FeatureStore(tmp_path / "cache", spec.json), path)
    assert sorted(rows) == list(range(11))
    assert [bytes(d) for d in handed.digests] == [result.outcomes[row].digest for row in rows]
    assert all(outcome.features == [None] for outcome in result.outcomes)
    assert all(outcome.picture is not None for outcome in result.outcomes)
    assert result.engines == [("grid", "")]


@pytest.mark.parametrize("token", ["", "/nowhere/token"])
def test_one_that_does_not_returns_it(job, files, token, tmp_path):
    (shard,) = embed_part(job(token=token), files).shards
    assert isinstance(shard, bytes)
    assert not (tmp_path / "cache").exists()


def test_a_workspace_of_the_same_name_elsewhere_is_not_the_same(job, files, tmp_path):
    job = job()
    (tmp_path / "token").write_text("another process")
    assert isinstance(embed_part(job, files).shards[0], bytes)


def test_one_that_sees_and_may_not_write_returns_it(job, files, tmp_path):
    (tmp_path / "cache").touch()
    assert isinstance(embed_part(job(), files).shards[0], bytes)


def test_what_is_known_is_not_computed_again(job, files, spec):
    digests = [outcome.digest for outcome in embed_part(job(), files).outcomes]
    wanted = Wanted(spec.json, "imagenet", Grid(), (b"".join(digests[1:]),))
    result = embed_part(job(wanted=(wanted,), measured=None), files)
    assert len(result.rows[0]) == 1
    assert result.outcomes[result.rows[0][0]].digest == digests[0]


def test_another_version_is_refused(job, files):
    with pytest.raises(TlxError, match=f"has tlx {__version__}, and here is tlx 0.0.1"):
        embed_part(job(version="0.0.1"), files)


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("weights", "a" * 64, "Give it the same weights file, or leave it out"),
        ("decoder", DECODER_REVISION + 1, f"Give it tlx-vision=={__version__}, or leave it out"),
        ("preprocessing", "other", f"Give it tlx-vision=={__version__}, or leave it out"),
    ],
)
def test_other_features_are_refused_with_the_field_that_differs(spec, field, value, remedy):
    wanted = dataclasses.replace(spec, **{field: value})
    backbone = get_backbone("efficientnet-lite0")
    check_spec(spec, backbone)
    with pytest.raises(TlxError, match=f"would compute other features: {field} is ") as caught:
        check_spec(wanted, backbone)
    assert f"and {value} here" in caught.value.cause
    assert caught.value.remedy.startswith(remedy)


def test_a_part_may_have_no_image_that_can_be_read(job, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    result = embed_part(job(), [str(bad), str(tmp_path / "gone.png")])
    assert result.shards == [None]
    assert [bool(outcome.error) for outcome in result.outcomes] == [True, True]
    assert np.array_equal([outcome.fault for outcome in result.outcomes], [False, True])
