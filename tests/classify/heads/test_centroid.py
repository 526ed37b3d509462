"""The nearest class mean, against scikit-learn's."""

from __future__ import annotations

from sklearn.neighbors import NearestCentroid

from tlx.heads import CentroidHead


def test_centroid_decides_for_the_nearest_mean(draw, scaled):
    X, y = draw(90, 3)
    new, _ = draw(500, 3, seed=1)
    theirs = NearestCentroid().fit(scaled(X), y).predict(scaled(new, by=X))
    for temperature in (1.0, 0.001):
        ours = CentroidHead(temperature).fit(X, y).predict(new)
        assert (ours == theirs).mean() > 0.995
