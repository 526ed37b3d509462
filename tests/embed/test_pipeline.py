"""The embedding pass: what is read, what is reused, and what is left when something goes wrong."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.cache.store import FeatureStore
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.extract import extract
from tlx.embed.pipeline import embed_images, embed_specs, make_spec
from tlx.errors import DataError
from tlx.workspace import Workspace


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


def test_maps_are_stored_as_float16():
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


SEED = 1  # leaves both classes on both sides


def split_of(manifest) -> dict[str, str]:
    return dict(zip(manifest().path, manifest().split, strict=True))


def test_a_split_stays_until_another_is_asked_for(embed, manifest):
    first = embed(validation_fraction=0.4, seed=SEED)
    before = split_of(manifest)
    assert set(before.values()) == {"train", "validation"}
    again = embed()
    assert (again.splits, again.validation_fraction) == (first.splits, 0.4)
    assert split_of(manifest) == before
    assert (manifest().validation_fraction, manifest().split_seed) == (0.4, SEED)


def test_new_images_fall_to_their_side_of_a_split_that_stays(
    embed, manifest, class_folders, data, tmp_path
):
    embed(validation_fraction=0.4)
    before = split_of(manifest)
    class_folders(data, {"cats": 40, "dogs": 40})
    embed()
    after = split_of(manifest)
    assert {path: after[path] for path in before} == before
    embed(name="asked-again", validation_fraction=0.4)
    assert split_of(manifest) == after


def test_a_split_is_removed_by_a_fraction_of_zero(embed, manifest):
    embed(validation_fraction=0.4)
    assert embed(validation_fraction=0).splits == {}
    assert set(split_of(manifest).values()) == {""}
    assert embed().splits == {}


def test_a_new_split_that_fails_leaves_the_old_one(embed, manifest):
    embed(validation_fraction=0.4)
    before = split_of(manifest)
    with pytest.raises(DataError, match="one side only"):
        embed(validation_fraction=1e-9)
    assert split_of(manifest) == before
    assert manifest().validation_fraction == 0.4


def test_a_split_of_the_folders_goes_before_that_of_tlx(embed, data, manifest):
    embed(validation_fraction=0.4)
    for split in ("train", "validation"):
        for label in ("cats", "dogs"):
            (data / split / label).mkdir(parents=True)
            source = data / label / ("0000.png" if split == "train" else "0001.png")
            shutil.move(source, data / split / label)
    for label in ("cats", "dogs"):
        shutil.rmtree(data / label)
    result = embed()
    assert result.splits == {"train": 2, "validation": 2}
    assert "takes the place" in result.notes[0]


def test_views_are_embedded_besides_the_plain_images(embed, grid, manifest):
    first = embed(views=2)
    assert first.views_embedded == 2 * first.embedded
    again = embed(views=3)
    assert (again.embedded, again.views_embedded) == (0, first.embedded)


def test_views_cannot_be_negative(embed):
    with pytest.raises(DataError, match="-1 augmented views"):
        embed(views=-1)


def test_an_unknown_option_is_one_of_embed_images(embed):
    with pytest.raises(TypeError, match=r"embed_images\(\) has no .*'imagesize'.\n.*image_size"):
        embed(imagesize=3)


def test_the_repr_is_short(embed):
    assert repr(embed()) == (
        "<EmbedResult 'data': 11 images, 11 embedded, 0 reused, 0 unreadable; "
        "efficientnet-lite0 at 224>"
    )


def test_same_bytes_under_two_classes_are_named_and_used(embed, data):
    shutil.copy(data / "cats" / "0000.png", data / "dogs" / "again.png")
    shutil.copy(data / "cats" / "0001.png", data / "cats" / "again.png")
    result = embed()
    assert result.conflicts == [("cats/0000.png", "dogs/again.png")]
    assert result.classes == {"cats": 7, "dogs": 6}


def test_several_specs_are_one_pass_over_the_files(embed, data, tmp_path, grid):
    network = get_backbone("efficientnet-lite0", "none")
    wanted = [(network, make_spec(network, image_size=size)) for size in (32, 64)]
    read = []
    results = embed_specs(
        data,
        wanted,
        workspace=tmp_path / "ws",
        engine=grid,
        views=1,
        progress=lambda done, total: read.append((done, total)),
    )
    assert read[-1] == (11, 11)
    assert [(r.embedded, r.views_embedded) for r in results] == [(11, 11), (11, 11)]
    alone = embed(weights="none", image_size=64, views=1)
    assert (alone.embedded, alone.views_embedded, alone.reused) == (0, 0, 11)


def test_options_outside_the_spec_are_named_with_the_nearest(embed, grid, manifest):
    with pytest.raises(LookupError, match="unknown pooling: 'average'"):
        embed(pooling="average")
