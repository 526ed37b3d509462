import numpy as np
import pytest

from tlx.classify.audit import audit_run
from tlx.relabel import relabel_images

NAMES = ("near-duplicate", "leak")


@pytest.fixture
def zoo(place, add_dataset, draw_thumbs):
    """Return a function that adds 40 images, of which some are nearly others."""

    def add(copies, measured=True, split=None, same=(), turn=()):
        rng = np.random.default_rng(0)
        X, thumbs = rng.normal(size=(40, 24)).astype(np.float32), draw_thumbs(40)
        for new, old in copies:
            X[new] = X[old] + 0.01 * rng.normal(size=24)
            thumbs[new] = thumbs[old]
        y = np.arange(40) % 2
        for row in turn:
            y[row] = 1 - y[row]
        digests = [bytes([i + 1]) * 32 for i in range(40)]
        for new, old in same:
            digests[new], X[new], thumbs[new] = digests[old], X[old], thumbs[old]
        known = {"thumbs": thumbs} if measured else {}
        return add_dataset("zoo", X, y, split=split, digests=digests, **known)

    return add


def look(place, *names):
    return audit_run(workspace=place, only=names or NAMES).findings


def test_one_of_each_group_is_kept_and_the_others_name_it(place, zoo):
    zoo([(12, 2), (22, 2), (33, 3)])
    (found,) = look(place)
    assert (found.code, found.severity, found.value) == ("TLX201", "warning", 3)
    told = {(image.path, image.other) for image in found.images}
    assert told == {
        ("ant/12.png", "ant/2.png"),
        ("ant/22.png", "ant/2.png"),
        ("bee/33.png", "bee/3.png"),
    }
    assert all(0.99 < image.score <= 1 for image in found.images)


def test_equal_files_of_one_class_are_told_and_of_two_are_a_conflict(place, zoo):
    zoo([], same=[(12, 2), (13, 4)])
    (found,) = look(place)
    assert [(image.path, image.other, image.score) for image in found.images] == [
        ("ant/12.png", "ant/2.png", 1.0)
    ]


def test_of_two_classes_they_are_grave(place, zoo):
    zoo([(12, 2), (13, 2)])
    grave, warning = look(place)
    assert (grave.severity, warning.severity) == ("grave", "warning")
    (image,) = grave.images
    assert (image.path, image.label, image.other) == ("bee/13.png", "bee", "ant/2.png")


def test_across_splits_they_are_a_leak(place, zoo):
    split = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    zoo([(12, 2), (22, 2), (31, 21), (33, 3)], split=split, same=[(34, 4)])
    (found,) = look(place, "leak")
    assert (found.code, found.severity, found.value) == ("TLX202", "grave", 4)
    assert "1 of validation and 3 of test" in found.title
    assert {(image.path, image.other) for image in found.images} == {
        ("ant/22.png", "ant/2.png"),
        ("bee/31.png", "bee/21.png"),
        ("bee/33.png", "bee/3.png"),
        ("ant/34.png", "ant/4.png"),
    }


def test_without_splits_nothing_leaks(place, zoo):
    zoo([(12, 2)])
    assert look(place, "leak") == ()


def test_without_pictures_the_advice_is_to_embed_again(place, zoo):
    zoo([(12, 2)], measured=False)
    (found,) = look(place)
    assert "tlx embed" in found.advice


def test_distinct_images_are_no_finding(place, zoo):
    zoo([], split=["train"] * 20 + ["validation"] * 20)
    assert look(place) == ()


def test_what_a_person_kept_is_not_asked_again_but_still_leaks(place, zoo, tmp_path):
    split = ["train"] * 20 + ["validation"] * 20
    zoo([(22, 2), (24, 4)], split=split)
    (tmp_path / "c.csv").write_text("path,action\nant/22.png,keep\n")
    relabel_images(tmp_path / "c.csv", workspace=place, apply=True)
    found = {finding.name: [image.path for image in finding.images] for finding in look(place)}
    assert found["near-duplicate"] == ["ant/24.png"]
    assert set(found["leak"]) == {"ant/22.png", "ant/24.png"}
