"""Linear discriminant analysis, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tlx.classify.heads import lda
from tlx.classify.heads.inner import fit_scale
from tlx.heads import LDAHead, LogisticHead

SHAPES = [(60, 2, 10), (90, 3, 10), (30, 2, 50), (45, 3, 80)]


def decisions(theirs: LinearDiscriminantAnalysis, Z: np.ndarray) -> np.ndarray:
    """Return what scikit-learn's probabilities are the softmax of, each row's mean taken off."""
    d = Z @ theirs.coef_.T + theirs.intercept_
    d = np.concatenate([-d / 2, d / 2], axis=1) if d.shape[1] == 1 else d
    return d - d.mean(axis=1, keepdims=True)


def assert_same_but_for_a_factor(ours: LDAHead, X, theirs, Z) -> None:
    d, logits = decisions(theirs, Z), ours.predictor_.logits(X)
    logits = logits - logits.mean(axis=1, keepdims=True)
    factor = (logits * d).sum() / (d**2).sum()
    assert factor > 0
    np.testing.assert_allclose(logits, factor * d, atol=1e-3 * np.abs(logits).max())
    assert (ours.predict(X) == theirs.predict(Z)).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shrinkage", [0.01, 0.5, 1.0])
def test_lda_is_that_of_scikit_learn_times_a_factor(shape, shrinkage, draw, scaled):
    X, y = draw(*shape)
    Z = scaled(X)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(Z, y)
    assert_same_but_for_a_factor(LDAHead(shrinkage).fit(X, y), X, theirs, Z)


def test_balanced_lda_has_uniform_priors(draw, scaled):
    X, y = draw(90, 3)
    X, y = X[:70], y[:70]
    X, y = np.delete(X, np.flatnonzero(y == 2)[5:], 0), np.delete(y, np.flatnonzero(y == 2)[5:])
    Z = scaled(X)
    theirs = LinearDiscriminantAnalysis("lsqr", shrinkage=0.3, priors=[1 / 3] * 3).fit(Z, y)
    assert_same_but_for_a_factor(LDAHead(0.3, class_weight="balanced").fit(X, y), X, theirs, Z)


@pytest.mark.parametrize("shape", [(60, 2, 6), (60, 3, 90)])
@pytest.mark.parametrize("size", [1, 4])
def test_lda_knows_what_it_would_say_without_a_group(shape, size, draw, monkeypatch, scaled):
    """The values in closed form are nearly, and their scale is, that of fits without each group."""
    X, y = draw(*shape, spread=4.0)
    groups = np.random.default_rng(0).permutation(len(X)) // size
    seen = []
    monkeypatch.setattr(lda, "fit_scale", lambda d, *rest: seen.append(d) or fit_scale(d, *rest))
    LDAHead(0.4).fit(X, y, groups=groups)
    Z = scaled(X)
    expected = np.empty((len(X), shape[1]))
    for g in np.unique(groups):
        rest = groups != g
        theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.4).fit(Z[rest], y[rest])
        expected[~rest] = decisions(theirs, Z[~rest])
    found = seen[0] - seen[0].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())
    assert fit_scale(found, y) == pytest.approx(fit_scale(expected, y), rel=0.02)


def test_a_class_of_one_group_is_never_left_out_and_the_rest_is(draw):
    X, y = draw(40, 3, spread=4.0)
    groups = np.where(y == 2, 100, np.arange(40))
    head = LDAHead(0.5).fit(X, y, groups=groups)
    assert np.isfinite(head.predict_proba(X)).all()
    single = LDAHead(0.5).fit(X[:2], np.arange(2))  # one image a class: nothing can be left out
    assert np.isfinite(single.predict_proba(X)).all()


def test_few_images_among_many_features_make_it_no_surer_than_it_is_right(draw):
    losses = []
    for seed in range(5):
        X, y = draw(1000, 3, 200, spread=5.0, seed=seed)
        few, rest = slice(0, 30), slice(30, 1000)
        p = LDAHead(0.5).fit(X[few], y[few]).predict_proba(X[rest])
        q = LogisticHead(1e-2).fit(X[few], y[few]).predict_proba(X[rest])
        own = [-np.log(r[np.arange(970), y[rest]]).mean() for r in (p, q)]
        losses.append(own)
    lda_loss, logistic_loss = np.mean(losses, axis=0)
    assert lda_loss < 1.1 * logistic_loss
