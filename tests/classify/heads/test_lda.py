"""Linear discriminant analysis, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tlx.heads import LDAHead

SHAPES = [(60, 2, 10), (90, 3, 10), (30, 2, 50), (45, 3, 80)]


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
