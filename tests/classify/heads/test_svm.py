"""The support vector machine, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from tlx.classify.heads.svm import svm_path
from tlx.heads import SVMHead


@pytest.mark.parametrize("shape", [(80, 2, 10), (120, 3, 10), (40, 2, 60)])
@pytest.mark.parametrize("C", [1e-3, 1e-1])
def test_decisions_are_those_of_scikit_learn_times_a_factor(shape, C, draw, scaled):
    X, y = draw(*shape, spread=3.0)
    Z = scaled(X)
    # LinearSVC penalises its intercept; a large scaling of it makes that negligible.
    svc = LinearSVC(C=C, dual=False, tol=1e-8, max_iter=100_000, intercept_scaling=100)
    theirs = svc.fit(Z, y).decision_function(Z)
    ((_, [head]),) = svm_path(X, y, np.ones((1, len(y))), [C], groups=np.arange(len(y)), tol=1e-5)
    ours = head.logits(X)
    ours = ours[:, 1] - ours[:, 0] if ours.shape[1] == 2 else ours
    factor = (ours * theirs).sum() / (theirs**2).sum()
    assert factor > 0
    np.testing.assert_allclose(ours, factor * theirs, atol=5e-3 * np.abs(ours).max())


def test_probabilities_are_honest_where_classes_overlap(draw):
    """A head that is right in three of four cases says so."""
    X, y = draw(400, 2, 8, spread=4.0)
    new, truth = draw(4000, 2, 8, spread=4.0, seed=1)
    p = SVMHead(1e-2).fit(X, y).predict_proba(new)
    right = (p.argmax(axis=1) == truth).mean()
    assert 0.6 < right < 0.95
    assert abs(p.max(axis=1).mean() - right) < 0.06


def test_copies_of_an_image_do_not_make_it_sure(draw):
    """Groups are held out whole, so copies cannot vouch for each other."""
    X, y = draw(30, 2, 60, spread=6.0)
    X, y = np.repeat(X, 10, axis=0), np.repeat(y, 10)
    sure = SVMHead(1.0).fit(X, y).predict_proba(X).max(axis=1).mean()
    unsure = SVMHead(1.0).fit(X, y, groups=np.arange(300) // 10).predict_proba(X).max(axis=1).mean()
    assert unsure < sure - 0.05
