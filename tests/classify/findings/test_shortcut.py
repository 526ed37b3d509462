"""Shortcuts: a planted one is found and named, and where there is none hardly any is claimed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.classify.audit import audit_run
from tlx.classify.findings.finding import Finding
from tlx.classify.findings.shortcut import tell_label

N = 200


@pytest.fixture
def album(place, add_dataset) -> Callable[..., Manifest]:
    """Return a function that makes photos of two classes that look alike."""

    def make(n: int = N, y: np.ndarray | None = None) -> Manifest:
        rng = np.random.default_rng(0)
        y = np.arange(n) % 2 if y is None else y
        add_dataset("d", rng.normal(size=(n, 4)).astype(np.float32), y)
        manifest = place.load_manifest("d")
        for name in ("brightness", "contrast", "sharpness", "colourfulness"):
            manifest.pictures[name] = rng.uniform(0.2, 0.8, n)
        manifest.pictures["format"] = b"JPEG"
        manifest.pictures["camera"] = rng.choice([b"", b"Pixel 8", b"EOS 5D"], n)
        manifest.pictures["taken"] = rng.uniform(1.6e9, 1.7e9, n)
        manifest.width[:], manifest.height[:] = rng.integers(300, 500, (2, n))
        manifest.size[:] = rng.integers(20_000, 90_000, n)
        return manifest

    return make


@pytest.fixture
def told(place) -> Callable[[Manifest], tuple[Finding, ...]]:
    def look(manifest: Manifest) -> tuple[Finding, ...]:
        manifest.save(place.manifest_path("d"))
        return audit_run(workspace=place, only="shortcut").findings

    return look


def test_photos_that_differ_in_nothing_have_no_shortcut(album, told):
    assert told(album()) == ()


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [
        ("format", b"PNG", "file format"),
        ("camera", b"Coolpix", "camera"),
        ("brightness", 0.1, "brightness"),
        ("taken", 1.6e9 // 86400 * 86400 + 3 * 3600, "hour of the photo"),
    ],
)
def test_a_class_that_differs_in_one_property_is_told_with_its_name(
    album, told, column, value, name
):
    manifest = album()
    manifest.pictures[column][manifest.label == 1] = value
    (finding,) = told(manifest)
    assert finding.severity == "warning"
    assert f"; the best by itself: {name}, " in finding.title
    assert finding.value > 0.95
    assert 0.8 < finding.low <= finding.value <= finding.high <= 1


def test_bytes_per_pixel_tell_a_class_that_is_compressed_more(album, told):
    manifest = album()
    manifest.size[manifest.label == 1] //= 8
    (finding,) = told(manifest)
    assert "bytes per pixel" in finding.title


def test_a_weak_shortcut_is_a_note(album, told):
    manifest = album(600)
    rows = np.flatnonzero(manifest.label == 1)[::3]
    manifest.pictures["format"][rows] = b"PNG"
    (finding,) = told(manifest)
    assert finding.severity == "note"
    assert finding.value == pytest.approx(2 / 3, abs=0.07)


def test_images_of_a_group_do_not_vouch_for_each_other(album, told):
    """With ten groups of one label each, what tells a group apart tells no label."""
    groups = np.repeat(np.arange(20), 10)
    y = groups % 2
    manifest = album(200, y)
    manifest.pictures["brightness"] = np.random.default_rng(1).permutation(20)[groups] / 20
    manifest.group = [f"patient {g}" for g in groups]
    assert told(manifest) == ()
    manifest.group = [""] * 200
    assert len(told(manifest)) == 1


def test_pictures_that_were_not_measured_are_not_judged(album, told):
    manifest = album()
    manifest.pictures["brightness"] = np.nan
    manifest.pictures["format"][manifest.label == 1] = b"PNG"
    assert told(manifest) == ()


def test_a_class_of_few_images_is_left_out(album, told):
    y = np.r_[np.arange(N) % 2, 2, 2, 2]
    manifest = album(len(y), y)
    manifest.pictures["format"][manifest.label == 2] = b"PNG"
    assert told(manifest) == ()


def test_properties_that_all_images_share_are_no_columns(album, told):
    manifest = album()
    for name in ("brightness", "contrast", "sharpness", "colourfulness", "taken"):
        manifest.pictures[name] = 0.5
    manifest.pictures["camera"] = b""
    manifest.width[:] = manifest.height[:] = manifest.size[:] = 100
    assert told(manifest) == ()


@pytest.mark.slow
@pytest.mark.parametrize(("n", "group"), [(60, 1), (200, 1), (300, 5)])
def test_without_a_shortcut_it_claims_one_in_at_most_5_percent_of_data_sets(n, group):
    claims, draws = 0, 40
    for seed in range(draws):
        rng = np.random.default_rng([n, seed])
        groups = np.repeat(np.arange(n // group), group)
        y = rng.permutation(np.arange(n // group) % 2)[groups]
        columns = rng.normal(size=(n // group, 8))[groups] + 0.3 * rng.normal(size=(n, 8))
        claims += tell_label(columns, y, groups).low > 0.5
    assert claims <= 0.05 * draws + 2 * (0.05 * 0.95 * draws) ** 0.5
