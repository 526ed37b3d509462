"""Images that resemble no other of a data set: planted ones are found, and few of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.audit import audit_run
from tlx.classify.findings.stranger import are_beyond_chance, strangeness
from tlx.relabel import relabel_images


def features(n: int, seed: int, dim: int = 40, spread: float = 0.3) -> np.ndarray:
    """Return non-negative features of images that have much in common, as those of photos."""
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(np.linspace(1, 0.1, dim), spread, (n, dim))).astype(np.float32)


def strangers(place) -> list[str]:
    return [i.path for f in audit_run(workspace=place, only="stranger").findings for i in f.images]


@pytest.mark.parametrize("planted", [1, 20])
def test_planted_strangers_are_found_and_hardly_anything_else(add_dataset, place, planted):
    y = np.arange(300) % 2
    alien = features(planted, 1)[:, ::-1] * np.random.default_rng(5).gamma(1, size=(planted, 40))
    alien = alien.astype(np.float32)
    add_dataset("d", np.vstack([features(300, 0), alien]), np.r_[y, np.zeros(planted, int)])
    found = strangers(place)
    expected = {f"ant/{i}.png" for i in range(300, 300 + planted)}
    assert len(expected & set(found)) >= 0.9 * planted
    assert len(set(found) - expected) <= 0.1 * len(found) + 1


def test_a_data_set_without_strangers_has_few(add_dataset, place):
    counts = []
    for seed in range(5):
        add_dataset("d", features(400, seed), np.arange(400) % 2)
        counts.append(len(strangers(place)))
    assert max(counts) <= 2


def test_a_class_of_varied_images_beside_alike_ones_is_no_class_of_strangers(add_dataset, place):
    X = np.vstack([features(400, 0, spread=0.05), features(40, 1, spread=0.3)])
    add_dataset("d", X, np.repeat([0, 1], [400, 40]))
    assert len(strangers(place)) <= 3


def test_strangers_are_found_where_they_are_a_third_of_a_class(add_dataset, place):
    rng = np.random.default_rng(3)
    alien = rng.gamma(0.3, size=(30, 40)).astype(np.float32)
    y = np.r_[np.arange(300) // 75, np.zeros(30, int)]
    add_dataset("d", np.vstack([features(300, 0), alien]), y)
    found = strangers(place)
    assert len({f"ant/{i}.png" for i in range(300, 330)} & set(found)) >= 24
    assert len(found) <= 33
    (finding,) = audit_run(workspace=place, only="stranger").findings
    least = min(image.score for image in finding.images)
    assert f"at least {least:.1f} standard deviations farther" in finding.title


def test_where_everything_seems_strange_nothing_is_told(add_dataset, place):
    """As with frames of films, most of which have others that are nearly the same."""
    rng = np.random.default_rng(0)
    frames = np.repeat(features(50, 0), 5, axis=0) + rng.normal(0, 1e-3, (250, 40))
    single = features(100, 1)
    add_dataset("d", np.vstack([frames, single]).astype(np.float32), np.arange(350) % 2)
    assert strangers(place) == []


def test_too_few_images_say_nothing(add_dataset, place):
    add_dataset("d", features(12, 0), np.arange(12) % 2)
    assert strangers(place) == []


def test_the_worst_come_first_with_their_deviations(add_dataset, place):
    X = features(200, 0)
    X[[3, 7]] = X[[3, 7], ::-1]
    X[7] = np.eye(40)[39] * 5
    add_dataset("d", X, np.arange(200) % 2)
    (finding,) = audit_run(workspace=place, only="stranger").findings
    assert finding.images[0].path == "bee/7.png"
    scores = [image.score for image in finding.images]
    assert scores == sorted(scores, reverse=True)
    assert finding.value == len(scores)


def test_deviations_are_those_of_the_class_where_that_is_less():
    rng = np.random.default_rng(0)
    d = np.r_[rng.normal(1, 0.1, 1000), rng.normal(3, 0.5, 100), 5.0]
    y = np.r_[np.zeros(1000, int), np.ones(100, int), 2]  # a class of one has no spread
    found = strangeness(d, y)
    assert found[:1000].std() == pytest.approx(0.9, abs=0.15)
    assert np.median(found[1000:1100]) == pytest.approx(0, abs=0.2)
    assert found[1100] > 10


def test_a_tenth_of_what_is_told_is_chance():
    """Over many drawn data sets: the share of ordinary images among those told."""
    rng, shares = np.random.default_rng(1), []
    for _ in range(300):
        z = np.r_[rng.normal(size=500), rng.normal(4, 1, 20)]
        told = are_beyond_chance(z)
        shares.append(told[:500].sum() / max(told.sum(), 1))
    assert np.mean(shares) <= 0.12


def test_images_that_are_all_alike_have_no_strangers(add_dataset, place):
    add_dataset("d", np.ones((60, 8), np.float32), np.arange(60) % 2)
    assert strangers(place) == []


def test_one_that_a_person_kept_is_not_asked_again(add_dataset, place, tmp_path):
    far = features(300, 0)
    far[:2] = 9
    far[1, ::2] = -9
    add_dataset("d", far, np.arange(300) % 2)
    first, *others = strangers(place)
    (tmp_path / "c.csv").write_text(f"path,action\n{first},keep\n")
    relabel_images(tmp_path / "c.csv", workspace=place, apply=True)
    assert strangers(place) == others


def test_copies_of_a_stranger_are_no_company(add_dataset, place, draw_thumbs):
    rng = np.random.default_rng(4)
    alien = rng.gamma(0.3, size=(1, 40)) + np.zeros((4, 1))
    alien = (alien + 0.001 * rng.random((4, 40))).astype(np.float32)
    thumbs = draw_thumbs(301)
    y = np.r_[np.arange(300) % 2, np.zeros(4, int)]
    add_dataset(
        "d", np.vstack([features(300, 0), alien]), y, thumbs=thumbs[[*range(301), 300, 300, 300]]
    )
    assert {f"ant/{i}.png" for i in range(300, 304)} <= set(strangers(place))
