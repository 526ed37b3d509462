"""The split that tlx makes: stable, near its share, and kept."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.embed.dataset import scan
from tlx.embed.splits import check_fraction, keep_split, split_by_digest
from tlx.errors import DataError


@pytest.fixture
def hashed(tmp_path, class_folders):
    """Return a function that scans 300 images of each class and gives them digests."""

    def make(n: int = 300, group=lambda row: "", names=("cats", "dogs")):
        root = tmp_path / "data"
        for name in names:
            (root / name).mkdir(parents=True, exist_ok=True)
            for number in range(n):
                (root / name / f"{number}.png").touch()
        manifest = scan(root).manifest
        for row, path in enumerate(manifest.path):
            seed = list(os.fsencode(path))
            manifest.digest[row] = np.random.default_rng(seed).integers(0, 256, 32)
        manifest.group = [group(row) for row in range(len(manifest))]
        return manifest

    return make


def test_split_comes_near_the_fraction_in_every_class(hashed):
    manifest = hashed()
    split_by_digest(manifest, 0.2)
    for label in (0, 1):
        mine = [s for s, i in zip(manifest.split, manifest.label, strict=True) if i == label]
        assert set(mine) == {"train", "validation"}
        assert abs(mine.count("validation") / len(mine) - 0.2) < 0.07  # 3 standard deviations


def test_adding_images_moves_none(hashed):
    before, after = hashed(100), hashed(300)
    split_by_digest(before, 0.2)
    split_by_digest(after, 0.2)
    old, new = (dict(zip(m.path, m.split, strict=True)) for m in (before, after))
    assert all(new[path] == side for path, side in old.items())


def test_a_larger_fraction_only_adds(hashed):
    small, large = hashed(), hashed()
    split_by_digest(small, 0.1)
    split_by_digest(large, 0.3)
    chosen = [{p for p, s in zip(m.path, m.split, strict=True) if s == "validation"}
              for m in (small, large)]  # fmt: skip
    assert chosen[0] < chosen[1]


def test_copies_stay_together(hashed):
    manifest = hashed(200)
    manifest.digest[1::2] = manifest.digest[::2]
    split_by_digest(manifest, 0.3)
    assert manifest.split[1::2] == manifest.split[::2]


def test_groups_stay_together(hashed):
    manifest = hashed(200, group=lambda row: f"patient-{row % 200 // 4}")
    split_by_digest(manifest, 0.3)
    sides: dict[str, set[str]] = {}
    for group, side in zip(manifest.group, manifest.split, strict=True):
        sides.setdefault(group, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())


def test_another_seed_is_another_split(hashed):
    first, second = hashed(), hashed()
    split_by_digest(first, 0.3, seed=0)
    split_by_digest(second, 0.3, seed=1)
    assert first.split != second.split


def test_test_images_and_unlabelled_ones_are_left_alone(hashed):
    manifest = hashed()
    manifest.split[:5] = ["test"] * 5
    manifest.label[5:10] = -1
    split_by_digest(manifest, 0.3)
    assert manifest.split[:10] == ["test"] * 5 + [""] * 5


def test_a_class_on_one_side_only_is_refused_and_nothing_changes(hashed):
    manifest = hashed(2)
    with pytest.raises(DataError, match="class 'cats' has images on one side only"):
        split_by_digest(manifest, 0.001)
    assert set(manifest.split) == {""}


def test_a_validation_split_is_not_overwritten(hashed):
    manifest = hashed(2)
    manifest.split[0] = "validation"
    with pytest.raises(DataError, match="validation split of its own"):
        check_fraction(manifest, 0.2)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 20, float("nan")])
def test_fraction_is_between_0_and_1(hashed, fraction):
    with pytest.raises(DataError, match="is not between 0 and 1"):
        check_fraction(hashed(1), fraction)


def test_copies_filed_under_different_groups_stay_on_one_side(tmp_path):
    manifest = _manifest_with_copies_across_groups(tmp_path)
    for seed in range(30):
        part = dataclasses.replace(manifest, split=[""] * len(manifest))
        split_by_digest(part, 0.4, seed)
        assert part.split[0] == part.split[1] == part.split[2]


def _manifest_with_copies_across_groups(tmp_path):
    """Return 40 images of two classes; 0 and 1 are copies, 1 and 2 of one group."""
    for i in range(40):
        folder = tmp_path / ("a" if i < 20 else "b")
        folder.mkdir(exist_ok=True)
        (folder / f"{i:02}.png").write_bytes(b"x%d" % i)
    manifest = scan(tmp_path).manifest
    manifest.digest[:] = np.random.default_rng(0).integers(1, 256, manifest.digest.shape)
    manifest.digest[1] = manifest.digest[0]
    manifest.group[0], manifest.group[1], manifest.group[2] = "anna", "ben", "ben"
    return manifest


# Kept


def as_seen_again(manifest: Manifest) -> Manifest:
    return dataclasses.replace(
        manifest, split=[""] * len(manifest), validation_fraction=0.0, split_seed=0
    )


def test_a_split_is_kept_with_its_fraction_and_seed(hashed):
    before = hashed(60)
    split_by_digest(before, 0.3, seed=5)
    after = as_seen_again(before)
    assert keep_split(after, before) == []
    assert after.split == before.split
    assert (after.validation_fraction, after.split_seed) == (0.3, 5)


def test_no_split_is_kept_where_there_was_none(hashed):
    before = hashed(10)
    after = as_seen_again(before)
    assert keep_split(after, before) == []
    assert set(after.split) == {""}


def test_a_split_without_its_fraction_keeps_its_sides_and_new_images_are_for_training(hashed):
    """That of a manifest of format 1."""
    before = hashed(60)
    split_by_digest(before, 0.3, seed=5)
    before.validation_fraction = None
    after = as_seen_again(before)
    part = before.subset(np.arange(100))
    (note,) = keep_split(after, part)
    assert after.split[:100] == before.split[:100]
    assert set(after.split[100:]) == {"train"}
    assert "20 new images are for training" in note
    assert after.validation_fraction is None


def test_a_split_of_the_folders_is_no_news_where_it_was_there_before(hashed):
    """A manifest of format 1 does not say whose its split was."""
    before = hashed(10)
    before.split = ["train", "validation"] * 10
    before.validation_fraction = None
    after = dataclasses.replace(before, validation_fraction=0.0)
    assert keep_split(after, before) == []
    assert (after.split, after.validation_fraction) == (before.split, 0.0)


def test_a_class_that_a_kept_split_leaves_on_one_side_is_told(hashed):
    before = hashed(60)
    split_by_digest(before, 0.3)
    after = as_seen_again(before).subset(np.arange(61))
    (note,) = keep_split(after, before)
    assert "class 'dogs' has images on one side of the split only" in note
