"""Parts of a data set: which images they have, and that together they are the whole one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.cache.store import FeatureStore
from tlx.classify.table import load_table
from tlx.embed.part import Part, drop_parts, known_parts
from tlx.embed.pipeline import embed_images
from tlx.errors import DataError
from tlx.upkeep import merge_workspace, prune_cache, verify_cache
from tlx.workspace import Workspace


@pytest.fixture
def embed_into(data, make_grid):
    """Return ``embed_into(folder, **options)`` with an engine of its own."""

    def run(folder: Path, source: Path = data, **options):
        return embed_images(source, workspace=folder, **{"engine": make_grid(), **options})

    return run


def features(folder: Path, result) -> np.ndarray:
    manifest = Workspace(folder).load_manifest()
    return FeatureStore(folder / "cache", result.spec.json).gather(manifest.digest_bytes())


def part_files(folder: Path) -> list[str]:
    return sorted(path.name for path in Workspace(folder).parts.glob("*.h5"))


# Which images


@pytest.mark.parametrize("value", ["3/16", (3, 16), [3, 16]])
def test_ways_to_name_a_part(value):
    assert Part.parse(value) == Part(3, 16)


@pytest.mark.parametrize(
    "value",
    ["0/4", "5/4", "x/y", "1/0", "3", "", "1/2/3", "-1/4", "1.0/2", "²/3", (0, 4), (3,), (1.0, 2)],
)
def test_what_is_no_part(embed, grid, value, tmp_path):
    with pytest.raises(DataError, match="is no part of a data set") as caught:
        embed(part=value)
    assert repr(value) in caught.value.cause
    assert "from 1/16 to 16/16" in caught.value.remedy
    assert not (tmp_path / "ws").exists()


def test_each_image_is_in_one_part_wherever_others_come_or_go(embed_into, tmp_path, class_folders):
    def parts_of(source: Path) -> dict[str, int]:
        found = {}
        for number in (1, 2, 3):
            folder = tmp_path / f"{source.parent.name}-{number}"
            embed_into(folder, source, part=(number, 3))
            (path,) = Workspace(folder).parts.glob("*.h5")
            for name in Manifest.load(path).path:
                assert name not in found
                found[name] = number
        return found

    few = class_folders(tmp_path / "few" / "data", {"cats": 6, "dogs": 5})
    more = class_folders(tmp_path / "more" / "data", {"ants": 9, "cats": 8, "dogs": 5})
    before, after = parts_of(few), parts_of(more)
    assert len(before) == 11
    assert len(after) == 22
    assert before.items() <= after.items()
    assert set(before.values()) == {1, 2, 3}


# What becomes of them


def test_merged_parts_are_bit_for_bit_what_one_machine_makes(embed_into, tmp_path, make_grid):
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    one = embed_into(whole, views=1)
    for number in (1, 2, 3):
        result = embed_into(tmp_path / f"own{number}", part=f"{number}/3", views=1)
        assert (result.part, result.dataset_images) == (Part(number, 3), 11)
        assert result.embedded == result.images == result.views_embedded
        told = merge_workspace(Workspace(merged), Workspace(tmp_path / f"own{number}"))
        assert (told.parts, told.datasets, told.problems) == (1, [], [])
    grid = make_grid()
    last = embed_into(merged, engine=grid, views=1)
    assert (last.embedded, last.views_embedded, last.reused, last.measured) == (0, 0, 11, 0)
    assert grid.seen == 0
    assert np.array_equal(features(whole, one), features(merged, last))
    ours, theirs = (Workspace(folder).load_manifest() for folder in (whole, merged))
    for name in ("path", "label", "split", "digest", "mtime_ns", "width", "error"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert ours.pictures.tobytes() == theirs.pictures.tobytes()
    assert ours.sources == theirs.sources
    assert part_files(merged) == []


def test_the_last_pass_reads_no_image_again(embed, data, tmp_path):
    for number in (1, 2):
        embed(part=(number, 2))
    for path in data.rglob("*.png"):  # the same size and time, and other bytes: nobody looks
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    result = embed()
    assert (result.embedded, result.reused, result.unreadable) == (0, 11, [])


def test_parts_alone_are_no_data_set(embed, tmp_path):
    embed(part="1/2")
    embed(part="2/2")
    assert Workspace(tmp_path / "ws").dataset_names() == []
    with pytest.raises(DataError, match="nothing is embedded"):
        load_table(Workspace(tmp_path / "ws"))


def test_a_part_that_is_missing_is_embedded_by_the_last_pass(embed):
    first = embed(part="1/2")
    last = embed()
    assert (last.part, last.embedded, last.reused) == (None, 11 - first.images, first.images)


def test_parts_of_a_data_set_that_grew(embed, data, tmp_path, class_folders):
    embed()
    class_folders(data, {"cats": 9})
    assert embed(part="1/2").embedded + embed(part="2/2").embedded == 3
    assert len(Workspace(tmp_path / "ws").load_manifest()) == 11  # as it was, and whole
    last = embed()
    assert (last.images, last.embedded) == (14, 0)


def test_two_parts_at_the_same_time_share_a_workspace(embed_into, make_grid, tmp_path):
    """The second part runs while the first one is at work, and neither loses anything."""
    folder = tmp_path / "shared"

    class Meanwhile(make_grid):
        others = 0

        def __call__(self, batch):
            if not self.others:
                self.others = embed_into(folder, part="2/2").images
            return super().__call__(batch)

    first = embed_into(folder, part="1/2", engine=Meanwhile())
    assert len(part_files(folder)) == 2
    last = embed_into(folder)
    assert (last.embedded, last.reused) == (0, 11)
    assert 0 < first.images < 11


def test_a_killed_part_goes_on_where_it_stopped(embed_into, make_grid, tmp_path):
    class Killed(make_grid):
        def __call__(self, batch):
            if self.seen:
                raise KeyboardInterrupt
            return super().__call__(batch)

    with pytest.raises(KeyboardInterrupt):
        embed_into(tmp_path / "ws", part="1/1", engine=Killed(), checkpoint_seconds=0)
    result = embed_into(tmp_path / "ws", part="1/1")
    assert (result.embedded, result.reused) == (3, 8)


def test_unreadable_images_are_those_of_one_machine(embed, data):
    (data / "cats" / "0001.png").write_text("not a picture")
    (data / "cats" / "gone.png").symlink_to("nowhere")
    told = [item for n in (1, 2, 3) for item in embed(part=(n, 3)).unreadable]
    last = embed()
    assert sorted(map(str, told)) == sorted(map(str, last.unreadable))
    assert {item["path"] for item in told} == {"cats/0001.png", "cats/gone.png"}


def test_a_part_without_a_readable_image_is_no_failure(embed, data):
    shutil.rmtree(data)
    (data / "cats").mkdir(parents=True)
    (data / "cats" / "bad.png").write_text("not a picture")
    results = [embed(part=(n, 4)) for n in (1, 2, 3, 4)]
    assert sorted((r.images, len(r.unreadable)) for r in results) == [(0, 0)] * 3 + [(1, 1)]
    with pytest.raises(DataError, match="1 of 1 images cannot be read"):
        [embed(part=(n, 4), strict=True) for n in (1, 2, 3, 4)]
    with pytest.raises(DataError, match="none of the 1 images can be read"):
        embed()


def test_the_whole_is_split_and_no_part(embed, grid):
    with pytest.raises(DataError, match="part 1/2 alone cannot be split") as caught:
        embed(part="1/2", validation_fraction=0.4)
    assert "last tlx embed" in caught.value.remedy
    assert grid.seen == 0
    embed(part="1/2")
    assert set(embed(validation_fraction=0.4).splits) == {"train", "validation"}
    assert embed(part="1/2").embedded == 0
    assert set(embed().splits) == {"train", "validation"}


def test_two_folders_of_one_name_keep_their_parts_apart(embed_into, data, tmp_path, class_folders):
    other = class_folders(tmp_path / "elsewhere" / "data", {"owls": 4})
    for source in (data, other):
        embed_into(tmp_path / "ws", source, part="1/1")
    assert len(part_files(tmp_path / "ws")) == 2
    assert embed_into(tmp_path / "ws", data).embedded == 0
    assert len(part_files(tmp_path / "ws")) == 1
    assert embed_into(tmp_path / "ws", other).embedded == 0


def test_images_of_another_place_are_read_and_not_computed(embed_into, data, tmp_path, make_grid):
    """A machine that has the images elsewhere: their bytes tell that they are the same."""
    copy = Path(shutil.copytree(data, tmp_path / "mount" / "data"))
    embed_into(tmp_path / "ws", copy, part="1/1")
    grid = make_grid()
    result = embed_into(tmp_path / "ws", data, engine=grid)
    assert (result.embedded, result.measured, grid.seen) == (0, 0, 0)
    assert part_files(tmp_path / "ws") == []


# What else knows of parts


def test_prune_keeps_what_parts_name(embed, tmp_path):
    embed(part="1/2")
    prune_cache(Workspace(tmp_path / "ws"))
    assert embed(part="1/2").embedded == 0


def test_a_damaged_part_is_found_and_costs_a_look_only(embed, tmp_path):
    place = Workspace(tmp_path / "ws")
    embed(part="1/1")
    (path,) = place.parts.glob("*.h5")
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    assert str(path) in verify_cache(place).manifests[0]
    other = Workspace(tmp_path / "other")
    assert str(path) in merge_workspace(other, place).problems[0]
    assert embed().embedded == 0


def test_the_newer_of_two_parts_is_kept(embed_into, data, tmp_path, class_folders):
    one, other = Workspace(tmp_path / "one"), Workspace(tmp_path / "other")
    embed_into(one.root, part="1/1")
    class_folders(data, {"owls": 2})
    embed_into(other.root, part="1/1")
    assert merge_workspace(one, other).parts == 1
    assert merge_workspace(one, other).parts == 0
    assert merge_workspace(other, one).parts == 0
    (path,) = one.parts.glob("*.h5")
    assert len(Manifest.load(path)) == 13


def test_parts_of_which_more_is_known_stay(embed, tmp_path, manifest):
    embed()
    whole = manifest()
    embed(part="1/1", name="pets")
    place = Workspace(tmp_path / "ws")
    known = known_parts(place, whole)
    assert len(known) == 1
    drop_parts(known, whole.subset(np.arange(5)))
    assert len(part_files(place.root)) == 1
    drop_parts(known, whole)
    assert part_files(place.root) == []
