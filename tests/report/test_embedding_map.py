import numpy as np
import pytest

from tlx.report.embedding_map import choose_points, lay_out


def test_all_are_points_where_there_are_few():
    assert choose_points(7, np.array([3]), 0).tolist() == list(range(7))


def test_flagged_ones_are_always_in():
    flagged = np.arange(900, 1000)
    points = choose_points(10_000, flagged, 0, most=500)
    assert len(points) == len(set(points.tolist())) == 500
    assert set(flagged.tolist()) <= set(points.tolist())
    assert (np.diff(points) > 0).all()


def test_the_same_seed_draws_the_same():
    draws = [choose_points(1000, np.array([], int), seed, most=10).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_what_is_alike_lies_together():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(c, 0.1, (30, 8)) for c in (-3, 3)])
    X[:, :4] *= -1
    places = lay_out(X)
    assert places.shape == (60, 2)
    assert places.min() >= 0
    assert places.max() <= 1
    one, other = places[:30].mean(axis=0), places[30:].mean(axis=0)
    spread = places[:30].std(axis=0).max()
    assert np.linalg.norm(one - other) > 2 * spread
    assert (lay_out(X) == places).all()


@pytest.mark.parametrize("X", [np.zeros((40, 5)), np.ones((1, 3)), np.eye(3), np.zeros((9, 1)),
                               np.arange(60.0)[:, None]])  # fmt: skip
def test_few_or_equal_images_have_places_too(X):
    places = lay_out(X)
    assert places.shape == (len(X), 2)
    assert np.isfinite(places).all()
