"""Nearest neighbours, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from tlx.classify.heads.knn import NeighborsPredictor
from tlx.classify.heads.registry import fit_grid
from tlx.heads import KNNHead


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_votes_are_those_of_scikit_learn_and_one_neighbour_more(k, draw, scaled):
    X, y = draw(80, 3)
    new, _ = draw(50, 3, seed=1)
    near = min(k, len(X))
    theirs = KNeighborsClassifier(near, metric="cosine", weights="distance").fit(scaled(X), y)
    votes = theirs.predict_proba(scaled(new, by=X))
    expected = (near * votes + np.bincount(y) / len(y)) / (near + 1)
    np.testing.assert_allclose(KNNHead(k).fit(X, y).predict_proba(new), expected, atol=1e-5)


def test_an_image_learned_from_is_known_again(draw):
    X, y = draw(80, 3)
    assert (KNNHead(5).fit(X, y).predict(X) == y).all()


def test_every_k_of_the_path_is_that_k(draw):
    X, y = draw(80, 3)
    weights = np.ones((1, 80))
    weights[0, :30] = 0
    rows = np.arange(30)
    for step in fit_grid("knn", X, y, weights):
        head = KNNHead(step.params["k"]).fit(X[30:], y[30:])
        np.testing.assert_allclose(step.proba(0, rows), head.predict_proba(X[:30]), atol=1e-6)


def test_arrays_that_do_not_fit_are_refused(draw):
    X, y = draw(20)
    head = next(fit_grid("knn", X, y, np.ones((1, 20)), k=3)).head(0)
    whole = {name: getattr(head, name) for name in ("rows", "labels", "weight", "mean", "scale")}
    whole |= {"k": np.array(3), "n_classes": np.array(2)}
    assert NeighborsPredictor.from_arrays(whole).k == 3
    wrong = [
        {"labels": head.labels + 5},
        {"labels": head.labels[1:]},
        {"rows": head.rows.astype(np.float64)},
        {"rows": head.rows[:, :2]},
        {"k": np.array(21)},
        {"k": np.array(0)},
        {"k": np.array([3])},
        {"n_classes": np.array(1.5)},
    ]
    for part in wrong:
        with pytest.raises(ValueError, match=r"arrays of|neighbours of|n_classes"):
            NeighborsPredictor.from_arrays({**whole, **part})
    del whole["mean"]
    with pytest.raises(KeyError, match="mean"):
        NeighborsPredictor.from_arrays(whole)
