"""Nearest neighbours, against brute force."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from tlx.classify.heads.estimators import KNNHead
from tlx.classify.heads.knn import unit_rows
from tlx.classify.heads.predictors import load_predictor
from tlx.classify.heads.registry import fit_path
from tlx.errors import FormatError


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
    for step in fit_path("knn", X, y, weights):
        head = KNNHead(step.params["k"]).fit(X[30:], y[30:])
        np.testing.assert_allclose(step.proba(0, rows), head.predict_proba(X[:30]), atol=1e-6)


def test_a_file_with_another_type_is_refused(tmp_path, draw):
    X, y = draw(20)
    (tmp_path / "head.skops").write_bytes(
        skops.io.dumps(
            {"scaler": StandardScaler().fit(X), "hook": KNeighborsClassifier().fit(X, y)}
        )
    )
    with pytest.raises(FormatError, match="no head"):
        load_predictor(tmp_path, ["head.skops"])


def test_a_file_with_a_dangerous_type_is_refused(tmp_path):
    (tmp_path / "head.skops").write_bytes(skops.io.dumps(np.testing.assert_equal))
    with pytest.raises(FormatError, match=r"not trusted: numpy\.testing"):
        load_predictor(tmp_path, ["head.skops"])


def test_a_damaged_file_is_refused(tmp_path, draw):
    X, y = draw(20)
    data = next(iter(next(iter(fit_path("knn", X, y, np.ones((1, 20))))).head(0).parts().values()))
    (tmp_path / "head.skops").write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match="is no head"):
        load_predictor(tmp_path, ["head.skops"])


def test_arrays_that_do_not_fit_are_refused(tmp_path, draw):
    X, y = draw(20)
    head = KNNHead(3).fit(X, y)
    head.labels_ = head.labels_ + 5
    (tmp_path / "head.skops").write_bytes(skops.io.dumps(head))
    with pytest.raises(FormatError, match="no nearest neighbour head"):
        load_predictor(tmp_path, ["head.skops"])


def test_a_head_is_a_small_zip_without_pickles(draw):
    X, y = draw(20)
    data = next(iter(fit_path("knn", X, y, np.ones((1, 20))))).head(0).parts()["head.skops"]
    assert all(
        name == "schema.json" or name.endswith(".npy")
        for name in zipfile.ZipFile(io.BytesIO(data)).namelist()
    )


def test_a_head_from_before_there_was_scaling_is_what_it_was(tmp_path, draw):
    X, y = draw(20)
    head = KNNHead(3).fit(X, y)
    head.rows_ = unit_rows(X)
    del head.mean_, head.scale_
    (tmp_path / "head.skops").write_bytes(skops.io.dumps(head))
    loaded = load_predictor(tmp_path, ["head.skops"])
    theirs = KNeighborsClassifier(3, metric="cosine", weights="distance").fit(X, y)
    new, _ = draw(50, seed=1)
    expected = (3 * theirs.predict_proba(new) + np.bincount(y) / len(y)) / 4
    np.testing.assert_allclose(loaded.predict_proba(new), expected, atol=1e-5)
