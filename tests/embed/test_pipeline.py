"""The embedding pass: what is read, what is reused, and what is left when something goes wrong."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.embed.pipeline import Outcome, embed_images, extract, make_spec
from tlx.errors import DataError
from tlx.workspace import Workspace


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


def ruin(path: Path) -> None:
    """Replace the content of a file by zeros, with the same size and time."""
    status = path.stat()
    path.write_bytes(bytes(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def reasons(result) -> dict[str, str]:
    return {item["path"]: item["reason"] for item in result.unreadable}


# What is computed


def test_first_run_embeds_everything(embed, grid, manifest):
    result = embed()
    assert (result.images, result.embedded, result.reused, result.unreadable) == (11, 11, 0, [])
    assert (result.dim, result.engine, grid.seen) == (48, "grid", 11)
    assert (result.dataset, result.classes) == ("data", {"cats": 6, "dogs": 5})
    assert manifest().usable.all()
    assert (manifest().width.tolist(), manifest().height.tolist()) == ([40] * 11, [32] * 11)


def test_features_are_those_of_each_image(embed, manifest, tmp_path, grid):
    """Each stored row equals the engine's answer for that file alone."""
    result = embed()
    m = manifest()
    stored = FeatureStore(tmp_path / "ws" / "cache", result.spec.json).gather(m.digest_bytes())
    for row in range(len(m)):
        (outcome,) = extract([m.file(row)], result.spec, lambda: grid)
        assert outcome.feature is not None
        np.testing.assert_array_equal(stored[row], outcome.feature)


def test_progress_counts_to_the_end(embed):
    told: list[tuple[int, int]] = []
    embed(progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 11) for done in range(12)]


def test_the_data_set_is_known_by_the_name_given(embed, tmp_path):
    assert embed(name="pets").dataset == "pets"
    assert Workspace(tmp_path / "ws").dataset_names() == ["pets"]


def test_two_folders_of_one_name_are_two_data_sets(embed, tmp_path, class_folders):
    other = class_folders(tmp_path / "elsewhere" / "data", {"owls": 2})
    first, second = embed(), embed(other)
    assert first.dataset == "data"
    assert second.dataset.startswith("data-")
    assert embed(other).dataset == second.dataset


def test_name_that_is_no_file_name(embed):
    with pytest.raises(DataError, match=r"'a/b' is no data set name") as caught:
        embed(name="a/b")
    assert "'a-b'" in caught.value.remedy


def test_a_feature_belongs_to_its_spec(embed, grid):
    embed()
    result = embed(image_size=64)
    assert (result.embedded, grid.seen) == (11, 22)
    assert embed(image_size=64).embedded == 0
    assert embed().embedded == 0


# What is reused


def test_second_run_opens_no_image_and_no_engine(embed, data, grid):
    embed()
    for path in data.rglob("*.png"):
        ruin(path)
    result = embed()
    assert (result.embedded, result.reused, result.unreadable) == (0, 11, [])
    assert (result.engine, result.images_per_second, grid.seen) == (None, 0, 11)


def test_a_file_written_just_now_is_read_again(embed, data):
    """A second write within the tick of the file system's clock would leave size and time alike."""
    path = data / "cats" / "0000.png"
    now = int(time.time())
    os.utime(path, (now, now))
    embed()
    ruin(path)
    assert list(reasons(embed())) == ["cats/0000.png"]


def test_rehash_finds_a_change_that_size_and_time_hide(embed, data):
    embed()
    ruin(data / "cats" / "0000.png")
    assert embed().unreadable == []
    result = embed(rehash=True)
    assert list(reasons(result)) == ["cats/0000.png"]
    assert (result.embedded, result.reused) == (0, 10)


def test_rehash_after_a_file_was_mended_in_the_same_size_and_time(embed, data):
    path = data / "cats" / "0000.png"
    good, status = path.read_bytes(), path.stat()
    ruin(path)
    assert len(embed().unreadable) == 1
    path.write_bytes(good)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(embed().unreadable) == 1
    assert embed(rehash=True).unreadable == []


def test_only_a_new_image_is_embedded(embed, data, grid, picture):
    embed()
    (data / "cats" / "new.jpg").write_bytes(picture("new", "JPEG"))
    result = embed()
    assert (result.embedded, result.reused, grid.seen) == (1, 11, 12)


def test_a_changed_image_is_embedded_again(embed, data, grid, picture, manifest):
    embed()
    before = dict(zip(manifest().path, manifest().digest_bytes(), strict=True))
    (data / "dogs" / "0001.png").write_bytes(picture("changed"))
    assert embed().embedded == 1
    after = dict(zip(manifest().path, manifest().digest_bytes(), strict=True))
    assert [path for path in after if after[path] != before[path]] == ["dogs/0001.png"]


def test_renamed_moved_and_relabelled_images_are_known_by_their_digest(embed, data, manifest):
    embed()
    (data / "cats" / "0000.png").rename(data / "cats" / "renamed.png")
    (data / "cats" / "0001.png").rename(data / "dogs" / "moved.png")
    result = embed()
    assert (result.embedded, result.classes) == (0, {"cats": 5, "dogs": 6})


def test_a_moved_data_set_is_known_by_its_digests(embed, data, tmp_path):
    embed()
    shutil.move(data, tmp_path / "moved")
    assert embed(tmp_path / "moved").embedded == 0


def test_a_removed_image_leaves_the_data_set(embed, data):
    embed()
    (data / "cats" / "0000.png").unlink()
    result = embed()
    assert (result.images, result.embedded) == (10, 0)


def test_copies_are_embedded_once(embed, data, grid, manifest):
    for number in range(20):
        shutil.copy(data / "cats" / "0000.png", data / "cats" / f"copy-{number}.png")
    result = embed()
    assert (result.images, result.embedded, grid.seen) == (31, 11, 11)
    assert manifest().usable.all()


def test_a_lost_manifest_costs_no_embedding(embed, tmp_path):
    embed()
    (tmp_path / "ws" / "datasets" / "data.h5").unlink()
    assert (embed().embedded, embed().reused) == (0, 11)


def test_a_damaged_manifest_is_told_and_replaced(embed, tmp_path):
    embed()
    (tmp_path / "ws" / "datasets" / "data.h5").write_bytes(b"no longer HDF5")
    result = embed()
    assert result.embedded == 0
    assert "data.h5 is damaged" in result.problems[0]
    assert embed().problems == []


def test_a_damaged_shard_is_told_and_its_images_are_embedded_again(embed, tmp_path):
    embed()
    (shard,) = (tmp_path / "ws" / "cache").rglob("*.h5")
    shard.write_bytes(b"no longer HDF5")
    result = embed()
    assert result.embedded == 11
    assert shard.name in result.problems[0]


# What cannot be read


def test_an_unreadable_image_is_recorded_and_not_fatal(embed, data):
    (data / "cats" / "fake.jpg").write_text("not a picture")
    (data / "cats" / "empty.png").touch()
    result = embed()
    assert result.embedded == 11
    found = reasons(result)
    assert found["cats/empty.png"] == "empty file"
    assert found["cats/fake.jpg"].startswith("not an image")
    assert result.classes == {"cats": 6, "dogs": 5}


def test_an_unreadable_image_is_not_tried_again(embed, data):
    bad = data / "cats" / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    os.utime(bad, (1e9, 1e9))  # the time of a file written just now is not trusted yet
    first = reasons(embed())
    seen: list[int] = []
    second = embed(progress=lambda done, total: seen.append(total))
    assert reasons(second) == first
    assert not seen


def test_an_unreadable_image_is_tried_again_when_it_changed(embed, data, picture):
    bad = data / "cats" / "bad.png"
    bad.write_bytes(b"damaged")
    assert len(embed().unreadable) == 1
    bad.write_bytes(picture("mended"))
    result = embed()
    assert (result.embedded, result.unreadable) == (1, [])


def test_copies_of_a_bad_image_all_get_the_reason(embed, data):
    for number in range(30):
        (data / "cats" / f"bad-{number}.jpg").write_text("not a picture")
    result = embed()
    assert len(result.unreadable) == 30
    assert len(set(reasons(result).values())) == 1


def test_an_image_without_permission_is_tried_again(embed, data, tmp_path, deny):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws").chmod(0o777)
    deny(data / "cats" / "0000.png", 0)
    assert reasons(embed()) == {"cats/0000.png": "permission denied"}
    if os.getuid() == 0:
        os.seteuid(0)
    else:
        (data / "cats" / "0000.png").chmod(0o644)
    assert (embed().embedded, embed().unreadable) == (1, [])


def test_strict_raises_and_keeps_the_rest(embed, data):
    (data / "cats" / "bad.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"1 of 12 images cannot be read; the first: cats/bad.jpg"):
        embed(strict=True)
    assert (embed().embedded, embed().reused) == (0, 11)


def test_nothing_readable_at_all(embed, tmp_path):
    folder = tmp_path / "bad" / "cats"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_text("not a picture")
    with pytest.raises(DataError, match=r"none of the 1 images can be read; .*not an image"):
        embed(tmp_path / "bad")


def test_a_file_that_vanishes_meanwhile(embed, data):
    def vanish(done: int, total: int) -> None:
        if done == 0:
            (data / "dogs" / "0004.png").unlink(missing_ok=True)

    result = embed(progress=vanish)
    assert reasons(result) == {"dogs/0004.png": "no such file or directory"}
    assert result.embedded == 10


def test_a_csv_row_without_its_file(embed, data, tmp_path):
    csv = data / "some.csv"
    csv.write_text("path,label\ncats/0000.png,a\ngone.png,a\n")
    assert reasons(embed(csv)) == {"gone.png": "no such file or directory"}


def test_a_file_that_changes_while_it_is_read_is_looked_at_again(
    embed, data, manifest, monkeypatch
):
    """What is stored is the feature of the bytes that were read; the next run sees the new ones."""
    target = str(data / "cats" / "0000.png")
    real, calls = os.fstat, []

    def fstat(descriptor):
        status = real(descriptor)
        if not calls and os.path.samestat(status, os.stat(target)):
            calls.append(descriptor)
            os.utime(target, ns=(0, 0))  # a writer comes between the two looks at the file
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    assert embed().embedded == 11
    assert manifest().mtime_ns[0] == -1
    seen: list[int] = []
    assert embed(progress=lambda done, total: seen.append(total)).embedded == 0
    assert manifest().mtime_ns[0] == os.stat(target).st_mtime_ns


class Faulty:
    """An engine that gives the images of even rows no finite feature."""

    name = "faulty"
    note = ""
    output_shape = (4,)

    def __call__(self, batch):
        features = np.ones((len(batch), 4), np.float32)
        features[::2] = np.inf
        return features


def test_features_that_are_not_finite_are_recorded(embed):
    result = embed(engine=Faulty())
    assert (result.embedded, len(result.unreadable)) == (5, 6)
    assert set(reasons(result).values()) == {"its features are not finite in float32 and float32"}


def test_features_not_finite_in_one_spec_may_be_in_another(embed, grid):
    embed(engine=Faulty(), image_size=64)
    result = embed(engine=grid)
    assert (result.embedded, result.unreadable) == (11, [])


def test_float16_overflow_is_recorded_and_warns_nobody():
    class Large(Faulty):
        def __call__(self, batch):
            return np.full((len(batch), 4), 1e6, np.float32)

    spec = FeatureSpec("x", "random:0", "none", 8, pooling="none", dtype="float16")
    from tlx.embed.pipeline import _compute

    outcome = Outcome(0, digest=b"\0" * 32, pixels=np.zeros((8, 8, 3), np.uint8))
    (done,) = _compute(Large(), [outcome], spec)
    assert done.feature is None
    assert done.error == "its features are not finite in float32 and float16"


# Interruption


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_keeps_finished_work(embed, class_folders, data, error, grid, tmp_path):
    class_folders(data, {"owls": 60})

    def stop(done: int, total: int) -> None:
        if done == 40:
            raise error

    with pytest.raises(error):
        embed(progress=stop)
    saved = Workspace(tmp_path / "ws").load_manifest()
    assert int(saved.usable.sum()) >= 40
    result = embed()
    assert result.reused >= 40
    assert result.embedded + result.reused == 71
    assert grid.seen <= 71 + 8  # at most one batch was computed in vain


def test_the_manifest_is_saved_as_work_goes_on(embed, tmp_path):
    """With a seal after each image, what a kill would leave is complete up to there."""
    usable: list[int] = []
    path = Workspace(tmp_path / "ws").manifest_path("data")

    def look(done: int, total: int) -> None:
        if path.exists():
            usable.append(int(Manifest.load(path).usable.sum()))

    embed(progress=look, checkpoint_seconds=0)
    assert usable[-1] >= 10
    assert usable == sorted(usable)


def test_shards_are_merged_at_the_end(embed, tmp_path):
    embed(checkpoint_seconds=0)
    assert len(list((tmp_path / "ws" / "cache").rglob("*.h5"))) == 1
    assert not list((tmp_path / "ws").rglob("*.tmp"))


# Validation


def test_validation_fraction(embed, class_folders, data, manifest):
    class_folders(data, {"cats": 60, "dogs": 60})
    result = embed(validation_fraction=0.25)
    assert set(result.splits) == {"train", "validation"}
    assert abs(result.splits["validation"] / 120 - 0.25) < 0.12
    assert manifest().split.count("validation") == result.splits["validation"]


def test_an_impossible_fraction_is_refused_before_the_work(embed, grid):
    with pytest.raises(DataError, match="20 is not between 0 and 1"):
        embed(validation_fraction=20)
    assert grid.seen == 0


def test_a_split_that_fails_leaves_no_split_behind(embed, manifest):
    with pytest.raises(DataError, match="one side only"):
        embed(validation_fraction=1e-9)
    assert set(manifest().split) == {""}


# extract


def test_extract_yields_every_file_once(data, grid, picture):
    files = [str(path) for path in sorted(data.rglob("*.png"))] * 2 + ["/nowhere/a.png"]
    spec = FeatureSpec("x", "random:0", "none", 32)
    outcomes = list(extract(files, spec, lambda: grid))
    assert sorted(o.index for o in outcomes) == list(range(23))
    assert sum(o.feature is not None for o in outcomes) == 11
    assert [o.error for o in outcomes if o.index == 22] == ["no such file or directory"]
    assert all(o.pixels is None for o in outcomes)


def test_extract_opens_the_engine_only_for_work(data):
    def refuse():
        raise AssertionError("nothing is to be computed")

    assert list(extract([], make(), refuse)) == []
    assert [o.error for o in extract(["/nowhere"], make(), refuse)] != [""]


def make() -> FeatureSpec:
    return FeatureSpec("x", "random:0", "none", 32)


def test_extract_computes_no_known_digest(data, grid):
    files = [str(path) for path in sorted(data.rglob("*.png"))]
    first = list(extract(files, make(), lambda: grid))
    known = {o.digest for o in first if o.digest}
    again = list(extract(files, make(), lambda: grid, known=known))
    assert {o.digest for o in again} == known
    assert grid.seen == 11


def test_maps_are_stored_as_float16():
    from tlx.embed.backbones.registry import get_backbone

    network = get_backbone("efficientnet-lite0", "none")
    assert make_spec(network, pooling="none").dtype == "float16"
    assert make_spec(network).dtype == "float32"


# Cost

_RSS = """
import io, resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from tlx.embed.pipeline import embed_images

root, n = Path(sys.argv[1]), int(sys.argv[2])
(root / "data" / "a").mkdir(parents=True)
for i in range(n):
    pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(root / "data" / "a" / f"{i}.png")

class Engine:
    name, note, output_shape = "mean", "", (3,)
    def __call__(self, batch):
        return batch.mean((1, 2)).astype(np.float32)

embed_images(root / "data", workspace=root / "ws", engine=Engine(), image_size=224)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data_set(tmp_path, python):
    """Features are few numbers here: those of a merge are bounded too, but at 4 MiB."""
    pytest.importorskip("resource")
    few, many = (int(python(_RSS, tmp_path / str(n), n)) for n in (500, 3000))
    assert many < 1.1 * few


def test_a_repeated_run_is_fast(tmp_path, class_folders, grid):
    """The scan and the manifest of 400 images: well below the time of reading them."""
    data = class_folders(tmp_path / "many", {"a": 200, "b": 200})
    embed_images(data, workspace=tmp_path / "ws", engine=grid, image_size=32)
    started = time.perf_counter()
    assert embed_images(data, workspace=tmp_path / "ws", engine=grid, image_size=32).reused == 400
    assert time.perf_counter() - started < 2


def test_a_split_left_out_is_told(embed, grid, manifest):
    embed(validation_fraction=0.4)
    assert embed(validation_fraction=0.4).notes == []
    assert "validation split is gone" in embed().notes[0]
    assert embed().notes == []


def test_views_are_embedded_besides_the_plain_images(embed, grid, manifest):
    first = embed(views=2)
    assert first.views_embedded == 2 * first.embedded
    again = embed(views=3)
    assert (again.embedded, again.views_embedded) == (0, first.embedded)


def test_options_outside_the_spec_are_named_with_the_nearest(embed, grid, manifest):
    with pytest.raises(LookupError, match="unknown pooling: 'average'"):
        embed(pooling="average")
