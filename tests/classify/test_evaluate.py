"""The final examination of a run: on data sets of the workspace, and on folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tlx.classify.decision import stated_prior
from tlx.classify.evaluate import evaluate_run, stated_share
from tlx.classify.fit import fit_head
from tlx.classify.runs.prior import run_prior
from tlx.classify.scoring.prevalence import move_prior
from tlx.embed.pipeline import embed_images
from tlx.errors import DataError, UnknownNameError
from tlx.relabel import relabel_images


@pytest.fixture
def run(add_dataset, draw, place):
    X, y = draw(200)
    split = ["test" if i >= 120 else "train" for i in range(200)]
    add_dataset("d", X, y, split=split)
    return fit_head("logreg", workspace=place.root)


def test_scores_the_test_split_which_training_never_saw(run, place) -> None:
    found = evaluate_run(run, "d", workspace=place.root)
    assert (found.split, found.n, found.seen, found.chosen_on) == ("test", 80, 0, 0)
    assert found.confusion.sum() == 80
    right = np.trace(found.confusion) / 80
    assert found.metrics["accuracy"].value == pytest.approx(right)
    assert found.metrics_unseen == found.metrics


def test_tells_what_it_learned_from_and_scores_the_rest(run, place) -> None:
    test = evaluate_run(run, "d", workspace=place.root)
    found = evaluate_run(run, "d", split="all", workspace=place.root)
    assert (found.n, found.seen) == (200, 120)
    assert found.metrics_unseen == test.metrics


def test_of_training_images_only_nothing_is_unseen(run, place) -> None:
    found = evaluate_run(run, "d", split="train", workspace=place.root)
    assert found.seen == found.n == 120
    assert found.metrics_unseen == {}


def test_a_validation_split_was_chosen_on(add_dataset, draw, place) -> None:
    X, y = draw(100)
    add_dataset("v", X, y, split=["validation" if i < 40 else "train" for i in range(100)])
    run = fit_head("logreg", workspace=place.root)
    found = evaluate_run(run, "v", split="validation", workspace=place.root)
    assert (found.seen, found.chosen_on) == (0, 40)


def test_labels_are_matched_by_name(run, place, add_dataset, draw) -> None:
    """Another data set whose only class is the second of the run."""
    X, y = draw(60, seed=4)
    add_dataset("bees", X[y == 1], np.zeros(30, int), class_names=("bee",))
    found = evaluate_run(run, "bees", workspace=place.root)
    assert found.confusion[0].sum() == 0
    assert found.confusion[1].sum() == 30
    assert found.per_class[0].recall is None


def test_other_classes_are_refused_naming_both(run, place, add_dataset, draw) -> None:
    add_dataset("e", *draw(60), class_names=("ant", "cow"))
    with pytest.raises(DataError, match=r"of data set 'e' are ant, cow, those of run logreg-1 are"):
        evaluate_run(run, "e", workspace=place.root)


@pytest.mark.parametrize(
    ("split", "message"),
    [("validation", "no validation split.*\n.*none"), ("tset", "Did you mean test")],
)
def test_a_split_that_is_not_there(run, place, add_dataset, draw, split, message) -> None:
    add_dataset("plain", *draw(40))
    with pytest.raises((DataError, UnknownNameError), match=message):
        evaluate_run(run, "plain", split=split, workspace=place.root)


def test_a_data_set_that_is_not_there(run, place) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown data set: 'nowhere'.\n.*folder or CSV"):
        evaluate_run(run, "nowhere", workspace=place.root)


def test_a_data_set_without_features_of_the_run(run, place, add_dataset, draw) -> None:
    add_dataset("other", *draw(40), backbone="another")
    with pytest.raises(DataError, match=r"no features of drawn at 8.*\nName its folder.*/nowhere"):
        evaluate_run(run, "other", workspace=place.root)


def test_a_folder_is_embedded_and_the_default_data_set_stays(
    tmp_path: Path, class_folders, grid
) -> None:
    work = tmp_path / ".tlx"
    data = class_folders(tmp_path / "data", {"amber": 12, "blue": 12})
    embed_images(data, workspace=work, engine=grid)
    run = fit_head("logreg", workspace=work, folds=3)
    new = class_folders(tmp_path / "new", {"amber": 20, "blue": 20})
    first = evaluate_run(run, new, workspace=work, engine=grid)
    assert (first.dataset, first.split, first.n, first.seen) == ("new", "all", 40, 24)
    assert fit_head("logreg", workspace=work, folds=3).info.dataset == "data"
    embedded = grid.seen
    again = evaluate_run("best", new, workspace=work, engine=grid)
    assert grid.seen == embedded
    assert again.metrics == first.metrics
    shutil.rmtree(new / "amber")
    (new / "blue").rename(new / "green")
    with pytest.raises(DataError, match="are green"):
        evaluate_run(run, new, workspace=work, engine=grid)


@pytest.fixture
def split_run(tmp_path, class_folders, grid):
    """Return a folder of photos embedded with a validation split, and a run of it."""
    data = class_folders(tmp_path / "photos", {"amber": 20, "blue": 20})
    embed_images(data, workspace=tmp_path / ".tlx", engine=grid, validation_fraction=0.4)
    return data, fit_head("logreg", workspace=tmp_path / ".tlx")


def test_the_data_set_of_the_training_is_left_as_it_was(split_run, tmp_path, grid) -> None:
    """Its split, its sources, its name and its file: none of that is for evaluate to change."""
    data, run = split_run
    path = tmp_path / ".tlx" / "datasets" / "photos.h5"
    before = path.read_bytes()
    found = evaluate_run(run, data, workspace=tmp_path / ".tlx", engine=grid)
    assert (found.dataset, found.n, found.seen) == ("photos", 40, 40 - found.chosen_on)
    assert found.chosen_on > 0
    assert path.read_bytes() == before
    assert "validation" in fit_head("logreg", workspace=tmp_path / ".tlx").info.protocol


def test_a_known_folder_is_scored_on_its_corrected_labels(split_run, tmp_path, grid) -> None:
    data, run = split_run
    before = evaluate_run(run, data, workspace=tmp_path / ".tlx", engine=grid)
    relabel_images({"amber/0000.png": None}, workspace=tmp_path / ".tlx", apply=True)
    for named in (data, "photos"):
        found = evaluate_run(run, named, workspace=tmp_path / ".tlx", engine=grid)
        assert found.n == before.n - 1


def test_new_images_of_a_known_folder_are_scored_in_their_split(
    split_run, tmp_path, grid, class_folders
) -> None:
    data, run = split_run
    before = evaluate_run(run, data, split="validation", workspace=tmp_path / ".tlx", engine=grid)
    class_folders(data, {"amber": 60, "blue": 60})
    after = evaluate_run(run, data, split="validation", workspace=tmp_path / ".tlx", engine=grid)
    assert before.n < after.n < 60


def test_features_that_are_missing_are_computed_and_the_sources_stay(
    split_run, tmp_path, grid
) -> None:
    data, run = split_run
    path = tmp_path / ".tlx" / "datasets" / "photos.h5"
    shutil.rmtree(tmp_path / ".tlx" / "cache")
    embed_images(data, workspace=tmp_path / ".tlx", engine=grid, image_size=64)
    before, seen = path.read_bytes(), grid.seen
    assert evaluate_run(run, data, workspace=tmp_path / ".tlx", engine=grid).n == 40
    assert grid.seen == seen + 40
    assert path.read_bytes() == before


def test_a_test_split_is_counted_and_other_splits_are_not(run, place, add_dataset, draw) -> None:
    def uses(data, split=None):
        return evaluate_run(run, data, split=split, workspace=place.root).uses

    assert uses("d", "train") is None
    assert uses("d", "all") is None
    assert [uses("d").count, uses("d").count] == [1, 2]
    add_dataset("new", *draw(40, seed=7))
    assert uses("new").count == 1
    add_dataset("v", *draw(40, seed=8), split=["validation"] * 40)
    assert uses("v", "validation") is None


def test_a_shift_of_prevalence_is_named_with_what_it_costs(run, place, add_dataset, draw) -> None:
    X, y = draw(400, seed=5)
    few = np.concatenate([np.flatnonzero(y == 0)[:10], np.flatnonzero(y == 1)])
    add_dataset("rare", X[few], y[few])
    found = evaluate_run(run, "rare", workspace=place.root)
    assert found.shift is not None
    assert found.shift.label == 0
    assert found.shift.share == pytest.approx(10 / 210)
    assert found.shift.learned == 0.5
    assert found.shifted_loss is not None
    assert found.shifted_loss < found.metrics["log_loss"].value
    assert evaluate_run(run, "d", workspace=place.root).shift is None


def test_the_log_loss_told_is_that_of_the_share_to_state(place, add_dataset, draw) -> None:
    """Of three classes two moved, and one of them is stated."""
    add_dataset("d", *draw(150, 3))
    run = fit_head("logreg", C=0.1, workspace=place.root)
    X, y = draw(300, 3, seed=5)
    rows = np.concatenate([np.flatnonzero(y == c)[:n] for c, n in enumerate((5, 40, 100))])
    add_dataset("moved", X[rows], y[rows])
    found = evaluate_run(run, "moved", workspace=place.root)
    assert found.shift is not None
    learned, proba = run_prior(run), run.predict_proba(X[rows])
    name = run.class_names[found.shift.label]
    prior = stated_prior({name: stated_share(found.shift, found.n)}, run.class_names, learned)
    own = move_prior(proba, learned, prior)[np.arange(len(rows)), y[rows]]
    assert found.shifted_loss == pytest.approx(-np.log(own).mean(), abs=1e-6)


def test_near_duplicates_of_what_was_learned_from_are_counted(place, add_dataset, draw_thumbs):
    rng = np.random.default_rng(0)
    X, thumbs = rng.normal(size=(60, 24)).astype(np.float32), draw_thumbs(60)
    thumbs[50:53], X[50:53] = thumbs[:3], X[:3] + 0.01  # of test, and of train
    thumbs[58], X[58] = thumbs[59], X[59] + 0.01  # both of test
    split = ["test" if i >= 40 else "train" for i in range(60)]
    add_dataset("d", X, np.arange(60) % 2, split=split, thumbs=thumbs)
    run = fit_head("lda", workspace=place.root)
    assert evaluate_run(run, "d", workspace=place.root).near_duplicates == 3
    assert evaluate_run(run, "d", split="train", workspace=place.root).near_duplicates == 0
    place.manifest_path("d").rename(place.manifest_path("e"))
    assert evaluate_run(run, "e", workspace=place.root).near_duplicates is None


def test_near_duplicates_in_another_data_set_are_counted(
    place, add_dataset, draw_thumbs, monkeypatch
):
    rng = np.random.default_rng(0)
    X, thumbs = rng.normal(size=(60, 24)).astype(np.float32), draw_thumbs(60)
    X[50:55], thumbs[50:55] = X[:5] + 0.01, thumbs[:5]
    y = np.arange(60) % 2
    add_dataset("other", X[40:], y[40:], thumbs=thumbs[40:])
    add_dataset("d", X[:40], y[:40], thumbs=thumbs[:40])
    run = fit_head("lda", dataset="d", workspace=place.root)
    assert evaluate_run(run, "other", workspace=place.root).near_duplicates == 5
    monkeypatch.setattr("tlx.classify.duplicates.find_near_pairs", None)  # what is kept will do
    assert evaluate_run(run, "other", workspace=place.root).near_duplicates == 5
