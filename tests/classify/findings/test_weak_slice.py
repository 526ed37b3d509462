import numpy as np

import tlx
from tlx.classify import large
from tlx.classify.audit import audit_run
from tlx.classify.findings.weak_slice import find_clusters, weak_clusters


def test_a_kind_of_images_that_is_wrong_more_often_is_found(place, add_dataset):
    rng = np.random.default_rng(0)
    X = rng.normal(0, 0.5, (400, 60))
    y = np.arange(400) % 2
    X[:, 0] += 3 * y
    X[:40, 1] += 4  # forty images of one kind,
    X[:40, 0] = 1.5 + rng.normal(0, 0.5, 40)  # that show nothing of their class
    add_dataset("zoo", X.astype(np.float32), y)
    run = tlx.fit_head("lda", workspace=place)
    found = audit_run(run, workspace=place, only="weak-slice").findings[0]
    paths = {place.load_manifest("zoo").path[i] for i in range(40)}
    assert {image.path for image in found.images} <= paths  # it may be cut into two clusters
    assert found.value > 0.25


def test_of_losses_dealt_at_random_one_data_set_in_twenty_has_a_slice_at_most(draw):
    X, _ = draw(400, dim=16)
    cluster, _ = find_clusters(X, np.arange(len(X)))
    rng, made = np.random.default_rng(1), 0
    for seed in range(200):
        loss = rng.exponential(size=400) ** 3  # skewed, as losses are
        made += bool(weak_clusters(loss, cluster, seed))
    assert made <= 17  # 5% and two standard errors


def test_the_most_typical_images_come_first(place, add_dataset, draw):
    X, y = draw(200, spread=0.1)
    X[:30] += np.linspace(8, 12, 30)[:, None]
    y = np.where(np.arange(200) < 30, np.arange(200) // 2 % 2, y)
    add_dataset("zoo", X, y)
    run = tlx.fit_head("lda", workspace=place)
    found = audit_run(run, workspace=place, only="weak-slice").findings[0]
    place_of = {path: row for row, path in enumerate(place.load_manifest("zoo").path)}
    rows = [place_of[image.path] for image in found.images]
    off = np.linalg.norm(X[rows] - X[rows].mean(axis=0), axis=1)
    assert off[:5].mean() < off[-5:].mean()


def test_clusters_are_those_of_the_images(draw):
    X = np.repeat(np.eye(8)[:4] * 9, 50, axis=0) + draw(200)[0] * 0.01
    cluster, distance = find_clusters(X, np.arange(len(X)))
    assert all(len(np.unique(cluster[i : i + 50] // 50)) == 1 for i in range(0, 200, 50))
    assert (distance >= 0).all()
    for i in range(0, 200, 50):  # no cluster reaches into another kind
        assert not set(cluster[i : i + 50]) & set(np.delete(cluster, np.s_[i : i + 50]))


def test_clusters_of_many_images_are_found_in_blocks_as_those_of_few(draw, monkeypatch):
    X = np.repeat(np.eye(8)[:4] * 9, 50, axis=0).astype(np.float32) + draw(200)[0] * 0.01
    rows = np.arange(0, 200, 2)
    few = find_clusters(X, rows)
    assert np.array_equal(few[0], find_clusters(X[rows], np.arange(100))[0])
    monkeypatch.setattr(large, "MEMORY", 1000)
    monkeypatch.setattr(large, "BLOCK", 8 * 30)
    many = find_clusters(X, rows)
    assert np.array_equal(many[0], few[0])
    np.testing.assert_allclose(many[1], few[1], atol=1e-4)


def test_equal_losses_and_small_clusters_are_none():
    assert weak_clusters(np.ones(100), np.arange(100) % 4) == []
    assert weak_clusters(np.arange(100.0), np.arange(100) // 5) == []


def test_a_small_difference_is_no_slice_however_many_images_show_it():
    cluster = np.arange(20_000) % 20
    loss = np.random.default_rng(0).exponential(size=20_000)
    assert weak_clusters(loss + 0.3 * (cluster == 3), cluster) == []
    assert weak_clusters(loss + 1.5 * (cluster == 3), cluster) == [3]
