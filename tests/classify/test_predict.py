"""Images to probabilities: which files are meant, and what is said of each."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlx.classify.decision import make_decision, rejection
from tlx.classify.fit import fit_head, fit_heads
from tlx.classify.predict import (
    Prediction,
    count_labels,
    find_images,
    label_images,
    predict_images,
)
from tlx.classify.runs.best import load_run
from tlx.embed.pipeline import embed_images
from tlx.errors import DataError, UnknownNameError


@pytest.fixture(scope="module")
def photos(tmp_path_factory, class_folders, make_grid) -> Path:
    """Return a folder with ``holiday/`` of 2 x 12 images, embedded, and one run."""
    folder = tmp_path_factory.mktemp("photos")
    class_folders(folder / "holiday", {"amber": 12, "blue": 12})
    embed_images(folder / "holiday", workspace=folder / ".tlx", engine=make_grid())
    fit_head(workspace=folder / ".tlx")
    return folder


@pytest.mark.parametrize("kind", [str, Path])
def test_a_single_path_is_one_path(photos, kind, monkeypatch):
    monkeypatch.chdir(photos)
    assert len(predict_images("best", kind("holiday"))) == 24
    (one,) = predict_images("best", kind(photos / "holiday" / "blue" / "0000.png"))
    assert one.label == "blue"


def test_a_single_model_is_one_model(photos, tmp_path):
    shutil.copytree(photos / ".tlx", tmp_path / ".tlx")
    assert [run.info.model for run in fit_heads("lda", workspace=tmp_path / ".tlx").runs] == ["lda"]


def test_relative_folders_are_found(photos, monkeypatch):
    monkeypatch.chdir(photos / "holiday" / "blue")
    assert len(find_images("..")) == 24
    assert find_images(".") == [f"./{name}" for name in sorted(os.listdir())]
    monkeypatch.setenv("HOME", str(photos))
    assert len(find_images("~/holiday")) == 24


def test_what_is_not_there_stands_for_itself(tmp_path):
    (tmp_path / "empty").mkdir()
    paths = [str(tmp_path / "empty"), str(tmp_path / "gone.png")]
    assert find_images(paths) == paths


def test_no_file_is_read_for_a_name_with_a_nul(photos):
    (row,) = predict_images("best", ["a\0b"], workspace=photos / ".tlx")
    assert row.error == "not a file name"


def test_no_paths_at_all_is_an_error(photos):
    with pytest.raises(DataError, match="no images to predict"):
        predict_images("best", [], workspace=photos / ".tlx")


def test_a_rejection_may_be_given_as_chosen(photos):
    run = load_run("best", photos / ".tlx")
    data = [photos / "holiday"]
    by_number = predict_images(run, data, workspace=photos / ".tlx", reject=0.4)
    by_object = predict_images(run, data, workspace=photos / ".tlx", reject=rejection(run, 0.4))
    assert by_number == by_object


@pytest.fixture
def alien(tmp_path) -> Path:
    """Return an image unlike amber and blue: all in one corner."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:8, :8] = 255
    Image.fromarray(pixels).save(tmp_path / "alien.png")
    return tmp_path / "alien.png"


def test_what_is_like_nothing_learned_from_is_unknown(photos, alien, monkeypatch, make_grid):
    monkeypatch.setattr("tlx.classify.opened.load_engine", lambda *args: make_grid())
    found = predict_images("best", [alien, photos / "holiday"], workspace=photos / ".tlx")
    assert found[0].label != "unknown"
    assert found[0].stranger == 1 / 25
    assert all((row.stranger or 0) > 1 / 25 for row in found[1:])
    rejected = predict_images("best", alien, workspace=photos / ".tlx", reject=0.4)
    assert (rejected[0].label, rejected[0].stranger) == ("unknown", 1 / 25)
    assert rejected[0].probabilities == found[0].probabilities


def test_a_run_of_before_rejects_as_before(photos, alien, tmp_path, monkeypatch, make_grid):
    monkeypatch.setattr("tlx.classify.opened.load_engine", lambda *args: make_grid())
    shutil.copytree(photos / ".tlx", tmp_path / ".tlx")
    (folder,) = (tmp_path / ".tlx" / "runs").iterdir()
    info = json.loads((folder / "run.json").read_text())
    del info["parts"]["neighbours.h5"]
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "neighbours.h5").unlink()
    (row,) = predict_images("best", alien, workspace=tmp_path / ".tlx", reject=0.4)
    assert row.stranger is None
    decision = make_decision(load_run("best", tmp_path / ".tlx"), reject=0.4)
    assert decision.rejection is not None
    assert decision.rejection.strangers is None


def test_labels_are_counted_without_failures():
    found = [Prediction("a", "cat"), Prediction("b", "dog"), Prediction("c", "dog")]
    assert count_labels([*found, Prediction("d", error="gone")]) == {"dog": 2, "cat": 1}


def test_copies_are_predicted_alike_in_the_order_of_the_paths(photos, tmp_path):
    one = photos / "holiday" / "blue" / "0000.png"
    for name in ("a.png", "b.png"):
        shutil.copy(one, tmp_path / name)
    (tmp_path / "bad.png").write_text("no picture")
    paths = [tmp_path / "b.png", tmp_path / "bad.png", one, tmp_path / "a.png"]
    found = predict_images("best", paths, workspace=photos / ".tlx")
    assert [row.path for row in found] == list(map(str, paths))
    assert [row.label for row in found] == ["blue", None, "blue", "blue"]
    assert found[0].probabilities == found[2].probabilities == found[3].probabilities


def test_progress_counts_the_images(photos):
    told = []
    predict_images(
        "best",
        photos / "holiday",
        workspace=photos / ".tlx",
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(done, 24) for done in range(1, 25)]


def test_a_stated_prevalence_moves_all_probabilities(photos):
    data, work = photos / "holiday", photos / ".tlx"
    plain = predict_images("best", data, workspace=work)
    moved = predict_images("best", data, workspace=work, prior={"amber": 0.01})
    for before, after in zip(plain, moved, strict=True):
        p, q = before.probabilities, after.probabilities
        assert p is not None
        assert q is not None
        odds = p["amber"] / p["blue"] * 0.01 / 0.99
        assert q["amber"] / q["blue"] == pytest.approx(odds)
        assert after.label == max(q, key=q.__getitem__)
        assert after.confidence == max(q.values())


def test_with_costs_the_label_is_the_cheapest(photos):
    found = predict_images(
        "best",
        photos / "holiday",
        workspace=photos / ".tlx",
        cost={"fp": 1, "fn": 1e6},
        positive="amber",
    )
    assert {row.label for row in found} == {"amber"}
    for row in found:
        p = row.probabilities
        assert p is not None
        assert row.confidence == p["amber"]
        assert row.expected_cost == pytest.approx(p["blue"])


def test_an_estimated_prevalence_is_told_beside_the_labels(photos, tmp_path):
    run = load_run("best", photos / ".tlx")
    (tmp_path / "no.png").write_bytes(b"")
    files = [*find_images(photos / "holiday"), str(tmp_path / "no.png")]
    asked = make_decision(run, prior="auto")
    found, decision = label_images(run, files, asked, workspace=photos / ".tlx")
    assert decision.too_little == "that takes 30 different images, and there are 24"
    assert found == predict_images(run, files, workspace=photos / ".tlx")
    only = label_images(run, files[-1:], asked, workspace=photos / ".tlx")[0]
    assert [bool(row.error) for row in only] == [True]


def test_what_makes_no_sense_is_refused_before_an_image_is_read(photos):
    with pytest.raises(UnknownNameError, match="Did you mean amber"):
        predict_images("best", photos / "holiday", workspace=photos / ".tlx", prior={"ambre": 0.1})
