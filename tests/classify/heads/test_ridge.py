"""Ridge classification, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeClassifier

from tlx.classify.heads import ridge
from tlx.classify.heads.inner import fit_scale
from tlx.heads import RidgeHead

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


@pytest.mark.parametrize("shape", [(40, 2, 6), (20, 2, 30)])
@pytest.mark.parametrize("size", [1, 4])
def test_ridge_knows_what_it_would_say_without_a_group(shape, size, draw, monkeypatch, scaled):
    """The values in closed form are those of fits without each group in turn."""
    X, y = draw(*shape)
    groups = np.random.default_rng(0).permutation(len(X)) // size
    seen = []
    monkeypatch.setattr(ridge, "fit_scale", lambda d, *rest: seen.append(d) or fit_scale(d, *rest))
    RidgeHead(alpha=3.0).fit(X, y, groups=groups)
    Z = scaled(X)
    expected = np.empty(len(X))
    for g in np.unique(groups):
        rest = groups != g
        expected[~rest] = Ridge(3.0).fit(Z[rest], 2 * y[rest] - 1).predict(Z[~rest])
    np.testing.assert_allclose(seen[0][:, 1] - seen[0][:, 0], expected, atol=1e-4)
