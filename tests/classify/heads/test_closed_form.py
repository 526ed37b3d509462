"""Ridge, discriminant analysis and the nearest mean, against scikit-learn and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import NearestCentroid

from tlx.classify.heads import closed_form
from tlx.classify.heads.estimators import CentroidHead, LDAHead, RidgeHead
from tlx.classify.heads.inner import fit_scale

SHAPES = [(60, 2, 10), (90, 3, 10), (30, 2, 50), (45, 3, 80)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alpha", [1.0, 100.0])
def test_ridge_is_that_of_scikit_learn_times_a_factor(shape, alpha, draw, scaled):
    X, y = draw(*shape)
    Z = scaled(X)
    theirs = RidgeClassifier(alpha).fit(Z, y).decision_function(Z)
    ours = RidgeHead(alpha).fit(X, y).decision_function(X)
    factor = (ours * theirs).sum() / (theirs**2).sum()
    assert factor > 0
    np.testing.assert_allclose(ours, factor * theirs, atol=1e-4 * np.abs(ours).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shrinkage", [0.01, 0.5, 1.0])
def test_lda_is_that_of_scikit_learn(shape, shrinkage, draw, scaled):
    X, y = draw(*shape)
    Z = scaled(X)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(Z, y)
    ours = LDAHead(shrinkage).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(Z), atol=2e-4)


def test_balanced_lda_has_uniform_priors(draw, scaled):
    X, y = draw(90, 3)
    X, y = X[:70], y[:70]
    X, y = np.delete(X, np.flatnonzero(y == 2)[5:], 0), np.delete(y, np.flatnonzero(y == 2)[5:])
    Z = scaled(X)
    theirs = LinearDiscriminantAnalysis("lsqr", shrinkage=0.3, priors=[1 / 3] * 3).fit(Z, y)
    ours = LDAHead(0.3, class_weight="balanced").fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(Z), atol=2e-4)


def test_centroid_decides_for_the_nearest_mean(draw, scaled):
    X, y = draw(90, 3)
    new, _ = draw(500, 3, seed=1)
    theirs = NearestCentroid().fit(scaled(X), y).predict(scaled(new, by=X))
    for temperature in (1.0, 0.001):
        ours = CentroidHead(temperature).fit(X, y).predict(new)
        assert (ours == theirs).mean() > 0.995


@pytest.mark.parametrize("shape", [(40, 2, 6), (20, 2, 30)])
@pytest.mark.parametrize("size", [1, 4])
def test_ridge_knows_what_it_would_say_without_a_group(shape, size, draw, monkeypatch, scaled):
    """The values in closed form are those of fits without each group in turn."""
    X, y = draw(*shape)
    groups = np.random.default_rng(0).permutation(len(X)) // size
    seen = []
    monkeypatch.setattr(
        closed_form, "fit_scale", lambda d, *rest: seen.append(d) or fit_scale(d, *rest)
    )
    RidgeHead(alpha=3.0).fit(X, y, groups=groups)
    Z = scaled(X)
    expected = np.empty(len(X))
    for g in np.unique(groups):
        rest = groups != g
        expected[~rest] = Ridge(3.0).fit(Z[rest], 2 * y[rest] - 1).predict(Z[~rest])
    np.testing.assert_allclose(seen[0][:, 1] - seen[0][:, 0], expected, atol=1e-4)


def test_wide_and_tall_ways_agree(draw):
    """Just more and just fewer rows than features take different routes."""
    X, y = draw(41, 2, 40)
    for head in (RidgeHead(10.0), LDAHead(0.2)):
        tall = head.fit(X, y).predict_proba(X)
        padded = np.concatenate([X, np.zeros((41, 5), np.float32)], axis=1)
        if isinstance(head, RidgeHead):  # LDA spreads the trace over all features
            np.testing.assert_allclose(head.fit(padded, y).predict_proba(padded), tall, atol=1e-4)
