"""How features are scaled before weights are penalised."""

from __future__ import annotations

import numpy as np
import pytest

import tlx.heads
from tlx.classify.heads.registry import heads
from tlx.classify.heads.scaling import pareto_scale


def test_scaled_features_have_a_mean_variance_of_one():
    X = np.random.default_rng(0).standard_normal((500, 6)) * [0.01, 0.1, 1, 3, 10, 50]
    Z = X / pareto_scale(X.std(axis=0))
    assert Z.var(axis=0).mean() == pytest.approx(1)


def test_spread_keeps_its_order_and_loses_half_its_orders_of_magnitude():
    scale = pareto_scale(np.array([0.01, 1.0, 100.0]))
    spread = np.array([0.01, 1.0, 100.0]) / scale
    np.testing.assert_allclose(spread / spread[0], [1, 10, 100])


def test_constant_features_vanish_and_do_not_count():
    scale = pareto_scale(np.array([[0.0, 2.0, 8.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(scale[0, 1:], pareto_scale(np.array([2.0, 8.0])))
    assert np.isinf(scale[0, 0])
    assert np.isinf(scale[1]).all()


@pytest.mark.parametrize("name", [name for name in heads() if name != "dense"])
def test_features_that_hardly_vary_do_not_drown_those_that_tell(name):
    """Ten images: 20 features tell the classes apart, 1,000 of a fiftieth their size are noise.

    Standardised, the noise would be right in about 85 of 100 new images.
    """
    rng = np.random.default_rng(0)

    def draw(n):
        y = np.arange(n) % 2
        tell = rng.standard_normal((n, 20)) + 1.2 * (2 * y - 1)[:, None]
        return np.hstack([tell, 0.02 * rng.standard_normal((n, 1000))]).astype(np.float32), y

    scores = []
    for _ in range(5):
        (X, y), (new, truth) = draw(10), draw(500)
        scores.append(getattr(tlx.heads, heads()[name].estimator)().fit(X, y).score(new, truth))
    assert np.mean(scores) > 0.97
