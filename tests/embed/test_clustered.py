"""A data set embedded by workers is that of one process, whatever becomes of the workers."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from cluster_helpers import Grid, Here
from store_helpers import web_folder

from tlx.cache.shard import read_rows
from tlx.embed import worker
from tlx.embed.cluster import Cluster
from tlx.embed.clustered import Rates, part_images
from tlx.embed.pipeline import embed_images
from tlx.embed.remote import given_options, storage_options
from tlx.errors import DataError, StorageError, TlxError, UnknownNameError
from tlx.workspace import Workspace


@pytest.fixture
def spread(monkeypatch, data, tmp_path):
    """Return ``spread(pool, **options)``: embed with these workers, two images a part."""

    def run(pool=None, how=None, **options):
        pool = pool or Here()
        monkeypatch.setattr("tlx.embed.cluster.find_cluster", lambda address: lambda: pool)
        how = {"part_images": 2, **(how or {})}
        cluster = Cluster("processes:2", **how)
        options = {"engine": Grid(), "workspace": tmp_path / "spread", **options}
        return embed_images(options.pop("source", data), cluster=cluster, **options)

    return run


@pytest.fixture
def alone(data, tmp_path):
    """Return what one process makes of the images: see `contents`."""

    def run(**options):
        embed_images(data, engine=Grid(), workspace=tmp_path / "alone", **options)
        return contents(tmp_path / "alone")

    return run


def contents(folder: Path):
    """Return all rows and all of the manifest, and assert that nothing is there twice."""
    workspace = Workspace(folder)
    rows = {}
    for shard in sorted(workspace.cache.rglob("*")):
        if shard.is_file():
            assert not shard.name.startswith("."), "a temporary is left"
            for digest, feature in zip(*read_rows(shard), strict=True):
                key = (shard.parent.name, digest.tobytes())
                assert key not in rows, "an image is there twice"
                rows[key] = feature.tobytes()
    assert not list(folder.glob(".*"))
    manifest = workspace.load_snapshot()
    columns = ("digest", "size", "mtime_ns", "width", "height", "label", "pictures")
    return (
        rows,
        manifest.path,
        manifest.error,
        *(getattr(manifest, name).tobytes() for name in columns),
    )


def some_shard(result):
    return next(k for k, shard in enumerate(result.shards) if shard)


# The same as of one process


@pytest.mark.parametrize("return_features", [False, True])
@pytest.mark.parametrize("views", [0, 2])
def test_bit_for_bit_that_of_one_process(spread, alone, tmp_path, return_features, views):
    result = spread(how={"return_features": return_features}, views=views)
    assert contents(tmp_path / "spread") == alone(views=views)
    assert (result.images, result.embedded, result.reused) == (11, 11, 0)
    assert (result.views_embedded, result.measured, result.engine) == (11 * views, 0, "grid")
    assert result.classes == {"cats": 6, "dogs": 5}


def test_copies_in_several_parts_are_there_once(spread, alone, data, tmp_path):
    for k in range(4):
        shutil.copy2(data / "cats" / "0000.png", data / "dogs" / f"copy-{k}.png")
    result = spread()
    assert result.embedded == 11
    assert contents(tmp_path / "spread") == alone()


def test_bad_images_are_told_as_by_one_process(spread, alone, data, tmp_path):
    (data / "cats" / "fake.jpg").write_text("not a picture")
    (data / "dogs" / "fake.jpg").write_text("not a picture")
    result = spread()
    assert len(result.unreadable) == 2
    assert contents(tmp_path / "spread") == alone()


def test_only_what_is_missing_is_given_out(spread, data, class_folders):
    spread()
    pool = Here()
    assert spread(pool).embedded == 0
    assert pool.submit("nothing was given out before") == 0
    class_folders(data, {"ants": 3})
    assert (spread().embedded, spread().reused) == (3, 14)


def test_a_renamed_image_is_not_computed_again(spread, data):
    spread()
    (data / "cats" / "0000.png").rename(data / "cats" / "other.png")
    result = spread(rehash=True)
    assert (result.embedded, result.reused) == (0, 11)


def test_one_process_and_a_cluster_go_on_with_each_others_work(spread, alone, tmp_path, data):
    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spread(progress=stop)
    embed_images(data, engine=Grid(), workspace=tmp_path / "spread")
    found = contents(tmp_path / "spread")
    assert found == alone()


def test_what_was_done_when_it_was_interrupted_is_kept(spread, alone, tmp_path):
    def stop(done, total):
        if done == 6:
            raise KeyboardInterrupt

    pool = Here()
    with pytest.raises(KeyboardInterrupt):
        spread(pool, progress=stop)
    assert pool.closed
    result = spread()
    assert (result.embedded, result.reused) == (5, 6)
    assert contents(tmp_path / "spread") == alone()


# Workers that fail


def test_parts_of_lost_workers_are_given_out_again(spread, alone, tmp_path):
    pool = Here(3, lambda number, answer: "killed" if number % 3 == 0 else answer)
    assert spread(pool).embedded == 11
    assert contents(tmp_path / "spread") == alone()


def test_images_of_a_part_that_is_always_lost_are_told_and_tried_again(spread, alone, tmp_path):
    def lose(number, answer):
        return "killed" if number in (1, 6, 7) else answer

    result = spread(Here(2, lose))
    assert result.embedded == 9
    assert {bad["reason"] for bad in result.unreadable} == {"tried three times: killed"}
    assert sorted(bad["path"] for bad in result.unreadable) == ["cats/0002.png", "cats/0003.png"]
    again = spread()
    assert (again.embedded, again.reused, again.unreadable) == (2, 9, [])
    assert contents(tmp_path / "spread") == alone()


def test_a_damaged_shard_is_given_out_again(spread, alone, tmp_path):
    def damage(number, answer):
        if number in (0, 3):
            result = answer.value
            (shard,) = result.shards
            at = len(shard) // 2 if isinstance(shard, bytes) else shard.stat().st_size // 2
            data = bytearray(shard if isinstance(shard, bytes) else shard.read_bytes())
            data[at : at + 40] = b"\xff" * 40
            if isinstance(shard, bytes):
                result.shards = [bytes(data)]
            else:
                shard.write_bytes(data)
        return answer

    for returned in (False, True):
        spread(Here(2, damage), {"return_features": returned})
        assert contents(tmp_path / "spread") == alone()
        shutil.rmtree(tmp_path / "spread")


def test_a_worker_that_mixes_images_up_is_not_believed(spread, alone, tmp_path):
    def mix(number, answer):
        if number == 1:
            answer.value.rows[0].reverse()
        elif number == 2:
            answer.value.outcomes.pop()
        elif number == 3:
            return answer._replace(value="a text")
        return answer

    assert spread(Here(2, mix)).embedded == 11
    assert contents(tmp_path / "spread") == alone()


def test_a_shard_that_is_gone_is_computed_again(spread, alone, tmp_path):
    def lose(number, answer):
        if number == 2:
            answer.value.shards[0].unlink()
        return answer

    assert spread(Here(2, lose)).embedded == 11
    assert contents(tmp_path / "spread") == alone()


def test_one_that_hangs_and_hands_over_too_late_doubles_nothing(spread, alone, tmp_path):
    pool = Here(1, lambda number, answer: None if number == 1 else answer)
    assert spread(pool, {"deadline": 0.05}).embedded == 11
    assert pool.dropped == [1]
    assert contents(tmp_path / "spread") == alone()


def test_images_that_workers_do_not_see_end_it(spread, data, tmp_path):
    def blind(number, answer):
        for outcome in answer.value.outcomes:
            outcome.digest, outcome.error, outcome.fault = None, "no such file or directory", True
        answer.value.shards, answer.value.rows = [None], [[]]
        return answer

    with pytest.raises(
        DataError, match=r"worker .* does not see .*0000.png, which is here"
    ) as told:
        spread(Here(2, blind))
    assert "under the same path" in told.value.remedy


def test_an_image_that_vanished_is_told_as_by_one_process(spread, data):
    def vanish(done, total):
        if done == 0:
            (data / "dogs" / "0004.png").unlink(missing_ok=True)

    result = spread(progress=vanish)
    assert [bad["reason"] for bad in result.unreadable] == ["no such file or directory"]


def test_a_worker_of_another_kind_ends_it(spread, monkeypatch):
    monkeypatch.setattr("tlx.embed.worker.DECODER_REVISION", 99)
    with pytest.raises(TlxError, match="would compute other features: decoder is 99 there"):
        spread()


# How it is shared


@pytest.mark.parametrize(
    ("images", "slots", "expected"),
    [(1_000_000, 32, 64), (5000, 32, 40), (600, 2, 64), (1, 1, 8), (0, 8, 8), (70, 0, 24)],
)
def test_a_part_has_whole_batches(images, slots, expected):
    assert part_images(images, slots) == expected


def test_a_part_of_a_data_set_is_not_shared(spread, tmp_path):
    with pytest.raises(DataError, match="part 1/2 is not shared by a cluster") as caught:
        spread(part="1/2")
    assert caught.value.remedy == "Leave out --part or --cluster."
    assert not (tmp_path / "spread").exists()


def test_a_wrong_cluster_is_told_before_anything_is_done(data, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown cluster: 'slurm:4'"):
        embed_images(data, workspace=tmp_path / "ws", cluster="slurm:4")
    assert not (tmp_path / "ws").exists()


def test_rates_are_told_by_worker(spread):
    told = []
    spread(how={"rates": told.append})
    assert len(told) == 6
    assert len(told[-1]) == 1
    assert all(rate > 0 for rate in told[-1].values())


def test_rates_are_those_of_the_time_at_work():
    told = []
    rates = Rates(told.append)
    answer = dataclasses.make_dataclass("Answer", ["worker", "seconds"])
    done = dataclasses.make_dataclass("Done", ["answer"])
    rates.add(done(answer("a", 2.0)), 10)
    rates.add(done(answer("b", 1.0)), 8)
    rates.add(done(None), 8)
    rates.add(done(answer("a", 3.0)), 10)
    assert told[-1] == {"a": 4.0, "b": 8.0}


def test_real_processes_lose_nothing(data, alone, tmp_path):
    (tmp_path / "kill").touch()
    embed_images(
        data,
        engine=Grid(tmp_path),
        workspace=tmp_path / "spread",
        cluster=Cluster("processes:2", part_images=2),
    )
    assert not (tmp_path / "kill").exists()
    assert contents(tmp_path / "spread") == alone()


def test_an_image_that_kills_is_told_and_the_others_are_embedded(data, tmp_path):
    from PIL import Image

    Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).save(data / "cats" / "poison.png")
    result = embed_images(
        data,
        engine=Grid(poison=200.0),
        workspace=tmp_path / "spread",
        cluster=Cluster("processes:2", part_images=1),
    )
    assert result.embedded == 11
    ((path, reason),) = [tuple(bad.values()) for bad in result.unreadable]
    assert path == "cats/poison.png"
    assert reason.startswith("tried three times: its process was lost")


def test_a_workspace_that_cannot_be_written_is_told_as_by_one_process(spread, tmp_path):
    (tmp_path / "spread").touch()
    with pytest.raises(StorageError):
        spread()


def test_workers_reach_object_storage_as_this_process_does(spread, monkeypatch):
    seen = []
    real = worker.extract_all

    def look(*arguments):
        seen.append(given_options())
        return real(*arguments)

    monkeypatch.setattr(worker, "extract_all", look)
    with storage_options({"anon": True}):
        spread()
    assert seen == [{"anon": True}] * 6


def test_workers_fetch_what_was_signed(data, tmp_path):
    with web_folder(data, heads=False) as served:
        (source := tmp_path / "list.csv").write_text(
            f"path\n{served.url}/cats/0000.png?sig=hunter2\n"
        )
        options = {"engine": Grid(), "workspace": tmp_path / "ws", "cluster": "processes:1"}
        assert embed_images(source, **options).embedded == 1
        asked = [path for method, path in served.asked if method == "GET"]
    assert asked[-1].endswith("?sig=hunter2")
