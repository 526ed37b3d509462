"""Odd images: planted ones are found, and what all images of a data set are like is not odd."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.classify.audit import audit_run
from tlx.classify.findings.odd import RULES
from tlx.relabel import relabel_images

N = 400
USUAL = {"brightness": 0.45, "highlights": 0.88, "contrast": 0.21, "sharpness": 0.5}
USUAL |= {"colourfulness": 0.1, "uniformity": 0.12}
ODD = {
    "dark": {"highlights": 0.25, "brightness": 0.12, "contrast": 0.06},
    "bright": {"brightness": 0.95, "highlights": 1.0},
    "low-contrast": {"contrast": 0.04, "highlights": 0.6},
    "blurred": {"sharpness": 0.28},
    "uniform": {"uniformity": 0.99, "contrast": 0.01, "sharpness": 0.0, "colourfulness": 0.0},
    "grey": {"colourfulness": 0.0},
}


@pytest.fixture
def album(place, add_dataset) -> Callable[..., Manifest]:
    """Return a function that makes a data set of pictures that look much like photos do."""

    def make(**usual: float) -> Manifest:
        rng = np.random.default_rng(0)
        add_dataset("d", rng.normal(size=(N, 4)).astype(np.float32), np.arange(N) % 2)
        manifest = place.load_manifest("d")
        for name, value in (USUAL | usual).items():
            values = value * np.exp(rng.normal(0, 0.15, N))
            manifest.pictures[name] = values.clip(0, 1)
        manifest.width[:] = 400 * np.exp(rng.normal(0, 0.1, N))
        manifest.height[:] = 300 * np.exp(rng.normal(0, 0.1, N))
        return manifest

    return make


@pytest.fixture
def told(place) -> Callable[[Manifest], dict[str, list[str]]]:
    """Return a function that tells the odd images of a data set by the name of the finding."""

    def look(manifest: Manifest) -> dict[str, list[str]]:
        manifest.save(place.manifest_path("d"))
        found = audit_run(workspace=place, only=[rule.name for rule in RULES]).findings
        return {one.name: [image.path for image in one.images] for one in found}

    return look


def change(manifest: Manifest, rows: list[int], looks: dict[str, float]) -> list[str]:
    for name, value in looks.items():
        manifest.pictures[name][rows] = value
    return [manifest.path[row] for row in rows]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("planted", [1, 40])
def test_odd_ones_are_found_for_one_reason_and_hardly_another_image_is(album, told, name, planted):
    manifest = album()
    paths = change(manifest, list(range(5, 5 + planted)), ODD[name])
    found = told(manifest)
    assert set(paths) <= set(found[name])
    assert len({path for some in found.values() for path in some} - set(paths)) <= 4
    assert not any(set(paths) & set(some) for other, some in found.items() if other != name)


@pytest.mark.parametrize("name", ODD)
def test_what_all_images_are_like_is_not_odd(album, told, name):
    assert len(told(album(**ODD[name])).get(name, [])) <= 1


def test_tiny_and_long_images_are_found(album, told, place):
    manifest = album()
    manifest.width[3], manifest.height[3] = 40, 30
    manifest.width[[8, 9]], manifest.height[[8, 9]] = (900, 200), (200, 900)
    found = told(manifest)
    assert found["tiny"] == [manifest.path[3]]
    assert set(found["odd-shape"]) == {manifest.path[8], manifest.path[9]}
    (tiny,) = audit_run(workspace=place, only="tiny").findings
    assert tiny.title.startswith("1 image is tiny: pixels of the shorter side below 100, usual is ")


def test_among_tiny_images_none_is_tiny_and_among_long_ones_a_square_is_odd(album, told):
    manifest = album()
    manifest.width[:], manifest.height[:] = 24, 8
    manifest.width[7] = 8
    found = told(manifest)
    assert "tiny" not in found
    assert found["odd-shape"] == [manifest.path[7]]


def test_the_oddest_comes_first_with_its_number(album, told, place):
    manifest = album()
    change(manifest, [10], ODD["dark"])
    change(manifest, [20], {**ODD["dark"], "highlights": 0.125})
    assert told(manifest)["dark"][:2] == [manifest.path[20], manifest.path[10]]
    (finding,) = audit_run(workspace=place, only="dark").findings
    assert finding.images[0].score == 0.125
    assert finding.images[0].label == "ant"
    assert finding.title.startswith("2 images are dark: level of the light parts below 0.")


def test_where_nothing_was_measured_nothing_is_odd(place, add_dataset, told):
    add_dataset("d", np.ones((4, 2), np.float32), [0, 1, 0, 1])
    assert told(place.load_manifest("d")) == {}


def test_images_that_are_not_measured_are_left_out(album, told):
    manifest = album()
    change(manifest, [1, 2], ODD["dark"])
    change(manifest, [2], {"brightness": np.nan})
    assert told(manifest)["dark"] == [manifest.path[1]]


def test_a_picture_that_a_person_kept_or_left_out_is_not_asked_about_again(
    album, told, place, tmp_path
):
    manifest = album()
    dark = change(manifest, [3, 4, 5], ODD["dark"])
    assert set(told(manifest)["dark"]) == set(dark)
    (tmp_path / "c.csv").write_text(f"path,action\n{dark[0]},keep\n{dark[1]},drop\n")
    relabel_images(tmp_path / "c.csv", workspace=place, apply=True)
    assert told(manifest)["dark"] == [dark[2]]
