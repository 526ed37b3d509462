"""A run that is open says of pictures in memory what `predict_images` says of their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tlx.classify.decision import make_decision
from tlx.classify.fit import fit_head
from tlx.classify.opened import OpenedRun, label_judged, predictions_dict
from tlx.classify.predict import predict_images
from tlx.classify.runs.best import load_run
from tlx.embed.pipeline import embed_images
from tlx.errors import ImageError


@pytest.fixture(scope="module")
def photos(tmp_path_factory, class_folders, make_grid) -> Path:
    """Return a folder of images, embedded beside it with three views, and two runs."""
    folder = tmp_path_factory.mktemp("photos")
    data = class_folders(folder / "data", {"amber": 30, "blue": 30})
    embed_images(data, workspace=folder / ".tlx", engine=make_grid(), views=2)
    fit_head("logreg", workspace=folder / ".tlx", name="plain")
    fit_head("logreg", workspace=folder / ".tlx", name="averaging", tta=2)
    return folder


@pytest.fixture
def opened(photos, make_grid, monkeypatch, request):
    """Return one of the runs, opened with the engine that its features come from."""
    monkeypatch.setattr("tlx.classify.opened.load_engine", lambda *_: make_grid())
    monkeypatch.setattr("tlx.classify.opened.run_backbone", lambda *_: None)
    return OpenedRun(load_run(request.param, photos / ".tlx"))


@pytest.mark.parametrize("opened", ["plain", "averaging"], indirect=True)
def test_it_says_what_is_said_of_the_files(opened, photos):
    files = sorted((photos / "data").rglob("*.png"))[::7]
    expected = predict_images(opened.run, files, workspace=photos / ".tlx")
    judged = opened.judge([opened.decode(file.read_bytes()) for file in files])
    found = label_judged(judged, make_decision(opened.run))
    for one, other in zip(found, expected, strict=True):
        assert (one.label, one.stranger) == (other.label, other.stranger)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


@pytest.mark.parametrize("opened", ["plain"], indirect=True)
def test_features_that_are_no_numbers_are_an_error_of_that_image_alone(opened, photos):
    class Broken:
        def __call__(self, batch):
            return np.where(np.arange(len(batch))[:, None] == 1, np.nan, np.ones((len(batch), 48)))

    opened.engines[0] = Broken()
    looks = opened.decode((photos / "data" / "amber" / "0000.png").read_bytes())
    first, second, third = opened.judge([looks] * 3)
    assert isinstance(second, ImageError)
    assert first.probabilities.tolist() == third.probabilities.tolist()


@pytest.mark.parametrize("opened", ["averaging"], indirect=True)
def test_what_is_no_image_is_refused_as_it_is_decoded(opened):
    with pytest.raises(ImageError, match="not an image"):
        opened.decode(b"text")
    assert opened.image_sizes == [224] * 3


@pytest.mark.parametrize("opened", ["plain"], indirect=True)
def test_the_object_has_the_rejection_if_there_is_one(opened):
    decision = make_decision(opened.run, reject=0.3)
    told = predictions_dict(opened.run, [], decision)
    assert told["run"] == "plain"
    assert told["reject"]["error"] == 0.3
    assert "reject" not in predictions_dict(opened.run, [], make_decision(opened.run))
    assert label_judged([], decision) == []
