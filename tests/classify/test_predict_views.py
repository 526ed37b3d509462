"""Runs that average augmented views do so of whatever they predict and are evaluated on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tlx.classify.evaluate import evaluate_run
from tlx.classify.fit import fit_head
from tlx.classify.predict import predict_images
from tlx.classify.runs.best import load_run
from tlx.classify.table import load_features
from tlx.embed.pipeline import embed_images
from tlx.errors import DataError
from tlx.finetune.prepare import objection


@pytest.fixture(scope="module")
def seen_twice(tmp_path_factory, class_folders, make_grid) -> Path:
    """Return a folder with 2 x 12 images, embedded with two views, and runs that average them."""
    folder = tmp_path_factory.mktemp("views")
    class_folders(folder / "data", {"amber": 12, "blue": 12})
    embed_images(folder / "data", workspace=folder / ".tlx", engine=make_grid(), views=2)
    name = "efficientnet-lite0@mean-views"
    fit_head(workspace=folder / ".tlx", features=name, name="mean")
    fit_head(workspace=folder / ".tlx", tta=2, name="tta")
    return folder


def confidences(found):
    return np.array([list(row.probabilities.values()) for row in found])


@pytest.mark.parametrize("name", ["mean", "tta"])
def test_a_run_averages_the_views_that_it_was_scored_with(seen_twice, name, monkeypatch, make_grid):
    place = seen_twice / ".tlx"
    X = load_features(features="efficientnet-lite0@mean-views:2", workspace=place).X
    wanted = load_run(name, place).predict_proba(X)
    found = predict_images(load_run(name, place), seen_twice / "data", workspace=place)
    np.testing.assert_allclose(confidences(found), wanted, atol=1e-6)
    # Views of images that no workspace has are computed, and come out the same.
    monkeypatch.setattr("tlx.classify.opened.load_engine", lambda *args: make_grid())
    new = predict_images(load_run(name, place), seen_twice / "data", workspace=seen_twice / "empty")
    np.testing.assert_allclose(confidences(new), wanted, atol=1e-5)


def test_rejection_goes_with_the_views_that_were_scored(seen_twice):
    place, data = seen_twice / ".tlx", seen_twice / "data"
    for given in ({}, {"tta": 2}):
        found = predict_images("tta", data, workspace=place, reject=0.4, **given)
        assert len(found) == 24
    with pytest.raises(DataError, match="wrong over 1 augmented views was not measured") as caught:
        predict_images("tta", data, workspace=place, reject=0.4, tta=1)
    assert "tlx fit-head --tta 1" in caught.value.remedy
    assert all(row.stranger for row in found)
    other = predict_images("tta", data, workspace=place, tta=1)
    assert all(row.stranger is None for row in other)  # of these views no distance was taken
    with pytest.raises(DataError, match="over 0 augmented views"):
        predict_images("tta", data, workspace=place, reject=0.4, tta=0)


def test_a_prevalence_is_estimated_with_the_views_that_were_scored(seen_twice):
    asked = {"workspace": seen_twice / ".tlx", "prior": "auto"}
    assert len(predict_images("tta", seen_twice / "data", tta=2, **asked)) == 24
    with pytest.raises(DataError, match="over 1 augmented views that was not") as caught:
        predict_images("tta", seen_twice / "data", tta=1, **asked)
    assert "tlx fit-head --tta 1" in caught.value.remedy


def test_a_run_of_means_has_no_other_number_of_views(seen_twice):
    with pytest.raises(DataError, match="learned from means over augmented views"):
        predict_images("mean", seen_twice / "data", workspace=seen_twice / ".tlx", tta=3)


@pytest.mark.parametrize("name", ["mean", "tta"])
def test_a_run_is_evaluated_by_the_views_that_it_was_scored_with(seen_twice, name):
    place = seen_twice / ".tlx"
    found = evaluate_run(name, "data", workspace=place)
    predicted = confidences(predict_images(name, seen_twice / "data", workspace=place))
    y = load_features(workspace=place).y
    loss = -np.log(predicted[np.arange(24), y]).mean()
    assert found.metrics["log_loss"].value == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("name", ["mean", "tta"])
def test_a_run_that_judges_by_means_is_no_seed(seen_twice, name):
    error = objection(load_run(name, seen_twice / ".tlx"))
    assert error is not None
    assert "judges by means over augmented views" in str(error)
