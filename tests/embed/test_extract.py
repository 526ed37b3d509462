"""The pass over the files: read, hashed and decoded once, whatever is wanted of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.embed.extract import Target, extract, extract_all
from tlx.embed.images import decode_image
from tlx.embed.views import view_of

SPEC = FeatureSpec("x", "random:0", "none", 32)


@pytest.fixture
def files(tmp_path, class_folders) -> list[str]:
    folder = class_folders(tmp_path / "data", {"cats": 6, "dogs": 5})
    return [str(path) for path in sorted(folder.rglob("*.png"))]


class Pixels:
    """An engine whose features are the pixels themselves."""

    name, note = "pixels", ""

    def __init__(self, size: int) -> None:
        self.output_shape = (size, size, 3)

    def __call__(self, batch):
        return batch.astype(np.float32)


class Large:
    """An engine of features that float16 cannot hold."""

    name, note, output_shape = "large", "", (4,)

    def __call__(self, batch):
        return np.full((len(batch), 4), 1e6, np.float32)


def refuse():
    raise AssertionError("nothing is to be computed")


def test_every_file_is_yielded_once(files, grid):
    outcomes = list(extract([*files, *files, "/nowhere/a.png"], SPEC, lambda: grid))
    assert sorted(o.index for o in outcomes) == list(range(23))
    assert sum(o.feature is not None for o in outcomes) == 11
    assert [(o.error, o.fault) for o in outcomes if o.index == 22] == [
        ("no such file or directory", True)
    ]


def test_the_engine_is_opened_only_for_work():
    assert list(extract([], SPEC, refuse)) == []
    assert [o.error for o in extract(["/nowhere"], SPEC, refuse)] != [""]


def test_no_known_digest_is_computed(files, grid):
    known = {o.digest for o in extract(files, SPEC, lambda: grid) if o.digest}
    assert {o.digest for o in extract(files, SPEC, refuse, known=known)} == known
    assert grid.seen == 11


def test_float16_overflow_is_an_error_and_warns_nobody(files):
    spec = dataclasses.replace(SPEC, pooling="none", dtype="float16")
    for outcome in extract(files, spec, Large):
        assert outcome.feature is None
        assert outcome.error == "its features are not finite in float32 and float16"


def test_copies_of_a_bad_image_share_its_reason_wherever_it_comes_up(tmp_path, files, grid):
    bad = [tmp_path / f"{number}.png" for number in range(40)]
    for path in bad:
        path.write_text("not a picture")
    reasons = {o.error for o in extract(list(map(str, bad)), SPEC, lambda: grid)}
    assert len(reasons) == 1
    assert "" not in reasons


def test_copies_of_an_image_without_finite_features_share_that(files):
    spec = dataclasses.replace(SPEC, dtype="float16")
    outcomes = list(extract(files[:1] * 20, spec, Large))
    assert len(outcomes) == 20
    assert {o.error for o in outcomes} == {"its features are not finite in float32 and float16"}


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_all_targets_get_what_each_would_get_alone(tmp_path, picture, kind):
    """One file, one reading; other sizes, fits and views are decoded to the same pixels."""
    for number in range(10):
        data = picture(number, kind, (900 + number, 700))
        (tmp_path / f"{number}.img").write_bytes(data)
    files = [str(path) for path in sorted(tmp_path.glob("*.img"))]
    specs = [
        dataclasses.replace(SPEC, **fields)
        for fields in (
            {},
            {"image_size": 100},
            {"image_size": 400, "fit": "crop"},
            {"fit": "pad", "interpolation": "nearest"},
            {"view": 1},
            {"view": 2, "image_size": 64},
        )
    ]
    targets = [Target(s, lambda s=s: Pixels(s.image_size)) for s in specs]
    for outcome in extract_all(files, targets):
        data = Path(files[outcome.index]).read_bytes()
        for spec, feature in zip(specs, outcome.features, strict=True):
            assert outcome.digest is not None
            alone = decode_image(
                data,
                spec.image_size,
                fit=spec.fit,
                interpolation=spec.interpolation,
                view=view_of(outcome.digest, spec.view),
            )
            np.testing.assert_array_equal(feature, alone.pixels)
            assert (outcome.width, outcome.height) == (alone.width, alone.height)


def test_a_target_that_knows_an_image_gets_no_feature_of_it(files, grid):
    known = {o.digest for o in extract(files[:4], SPEC, lambda: grid) if o.digest}
    other = dataclasses.replace(SPEC, image_size=64)
    targets = [Target(SPEC, lambda: grid, known), Target(other, lambda: grid)]
    outcomes = sorted(extract_all(files, targets), key=lambda o: o.index)
    assert [o.features[0] is None for o in outcomes] == [True] * 4 + [False] * 7
    assert all(o.features[1] is not None for o in outcomes)
