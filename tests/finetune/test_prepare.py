"""What a fine-tuning starts from, decided without TensorFlow."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from tlx.classify.fit import fit_head
from tlx.classify.runs.best import load_run
from tlx.classify.runs.run import Finetuning
from tlx.classify.runs.store import list_runs, save_run
from tlx.embed.pipeline import embed_images
from tlx.errors import DataError, FitError
from tlx.finetune.prepare import find_seed, goes_on, hold_out, hold_out_folds
from tlx.finetune.settings import Settings
from tlx.workspace import Workspace

SETTINGS = Settings(epochs=30)


@pytest.fixture
def workspace(tmp_path, class_folders, grid) -> Workspace:
    """Return a workspace of 3 x 10 images with one logreg run."""
    class_folders(tmp_path / "photos", {"ash": 10, "birch": 10, "cedar": 10})
    embed_images(tmp_path / "photos", workspace=tmp_path / "ws", engine=grid, image_size=32)
    fit_head("logreg", workspace=tmp_path / "ws", C=1.0, folds=3)
    return Workspace(tmp_path / "ws")


def keep(workspace: Workspace, name: str, **changes):
    """Keep the logreg run under another name, as if its numbers had been others."""
    run = load_run("logreg-1", workspace.root)
    info = replace(run.info, **changes)
    parts = {"head.h5": (run.folder / "head.h5").read_bytes()}
    return save_run(workspace, info, parts, run.predictions(), name)


def interrupted(workspace: Workspace, name: str, settings: Settings, *, finished: bool = False):
    """Keep a run as Ctrl-C leaves a fine-tuning, or as one that ended."""
    told = {"interrupted": not finished}
    report = {"seed_run": "logreg-1", "kept": "head", "finetuned": told}
    return keep(
        workspace,
        name,
        model="finetune",
        params={"unfreeze": "20", "kept": "head", **asdict(settings)},
        finetune=Finetuning("logreg-1", "head", report),
    )


def test_a_joined_run_is_passed_over_and_refused_by_name(workspace):
    run = load_run("logreg-1", workspace.root)
    sources = [run.source, {**run.source, "weights": "imagenet"}]
    better = {**run.metrics, "log_loss": replace(run.metrics["log_loss"], value=0.0)}
    better["accuracy"] = replace(run.metrics["accuracy"], value=1.0)
    keep(workspace, "joined", sources=sources, metrics=better)
    assert find_seed(workspace, "best").id == "logreg-1"
    with pytest.raises(FitError, match="run joined joins 2 kinds of features"):
        find_seed(workspace, "joined")


def test_a_run_with_test_time_augmentation_is_passed_over_and_refused_by_name(workspace):
    log_loss = load_run("logreg-1", workspace.root).metrics["log_loss"]
    metrics = {"log_loss": replace(log_loss, value=0.0)}
    keep(workspace, "means", tta=3, metrics=load_run("logreg-1", workspace.root).metrics | metrics)
    assert find_seed(workspace, "best").id == "logreg-1"
    with pytest.raises(FitError, match="run means judges by means over augmented views"):
        find_seed(workspace, "means")


def test_a_fine_tuned_run_is_passed_over_and_refused_with_its_seed(workspace):
    interrupted(workspace, "tuned", SETTINGS, finished=True)
    assert find_seed(workspace, "best").id == "logreg-1"
    with pytest.raises(FitError, match="Start from logreg-1 again"):
        find_seed(workspace, "tuned")


def test_a_head_that_is_no_layer_is_refused_with_those_that_are(workspace):
    keep(workspace, "neighbours", model="knn")
    with pytest.raises(FitError, match=r"Heads that can: .*logreg"):
        find_seed(workspace, "neighbours")


def test_an_empty_workspace_says_what_to_type_and_names_no_data_set(tmp_path):
    with pytest.raises(DataError, match=r"there are no runs in .*ws") as told:
        find_seed(Workspace(tmp_path / "ws"), "best")
    assert "tlx fit-head" in told.value.remedy
    assert "None" not in str(told.value)


def test_without_a_validation_split_a_fifth_is_held_out_from_a_head_fitted_again(workspace):
    held = hold_out(workspace, load_run("logreg-1", workspace.root), seed=0)
    assert (len(held.train), len(held.rows)) == (24, 6)
    assert held.refitted
    assert not set(held.train) & set(held.rows)
    assert np.array_equal(np.sort(held.used), np.arange(30))


def test_too_few_images_to_hold_some_out_is_told_without_an_option_that_there_is_not(
    tmp_path, class_folders, grid
):
    class_folders(tmp_path / "few", {"ash": 2, "birch": 2})
    embed_images(tmp_path / "few", workspace=tmp_path / "ws", engine=grid, image_size=32)
    fit_head("logreg", workspace=tmp_path / "ws", C=1.0, folds=2)
    workspace = Workspace(tmp_path / "ws")
    with pytest.raises(FitError) as told:
        hold_out(workspace, find_seed(workspace, "best"), seed=0)
    assert "--folds" not in str(told.value)
    assert "--validation-fraction" in told.value.remedy


def replaced(workspace: Workspace, name: str | None, **options) -> bool:
    seed = load_run("logreg-1", workspace.root)
    return goes_on(workspace, name, seed, 20, replace(SETTINGS, **options))


def test_the_same_command_goes_on_with_an_interrupted_run_of_its_name(workspace):
    interrupted(workspace, "mine", SETTINGS)
    assert replaced(workspace, "mine")
    assert not replaced(workspace, "other")
    assert not replaced(workspace, None)


def test_other_options_do_not_take_the_place_of_an_interrupted_run(workspace):
    interrupted(workspace, "mine", SETTINGS)
    with pytest.raises(DataError, match=r"with other options: lr was 0\.0001"):
        replaced(workspace, "mine", lr=1e-3)


def test_another_head_does_not_take_the_place_of_an_interrupted_run(workspace):
    interrupted(workspace, "mine", SETTINGS)
    other = keep(workspace, "second")
    with pytest.raises(DataError, match="started from logreg-1, this one starts from second"):
        goes_on(workspace, "mine", other, 20, SETTINGS)


def test_a_run_that_ended_is_never_replaced(workspace):
    interrupted(workspace, "mine", SETTINGS, finished=True)
    for name in ("mine", "logreg-1"):
        with pytest.raises(DataError, match=f"there is a run '{name}' already"):
            replaced(workspace, name)


def test_a_successor_takes_the_place_of_a_run_and_leaves_nothing_else(workspace):
    interrupted(workspace, "mine", SETTINGS)
    run = load_run("mine", workspace.root)
    parts = {"head.h5": (run.folder / "head.h5").read_bytes()}
    info = replace(run.info, seed=7)
    save_run(workspace, info, parts, run.predictions(), "mine", replaces=True)
    assert load_run("mine", workspace.root).info.seed == 7
    assert {folder.name for folder in workspace.runs.iterdir()} == {"logreg-1", "mine"}
    assert len(list_runs(workspace)) == 2


def test_near_duplicates_stay_in_one_fold_if_those_of_the_head_did(workspace, tmp_path, make_grid):
    for name in ("0001", "0002", "0003", "0004"):
        file = tmp_path / "photos" / "ash" / f"{name}.png"
        with Image.open(file) as image:
            image.save(file.with_name(f"{name}-again.jpg"), quality=85)
    embed_images(tmp_path / "photos", workspace=workspace, engine=make_grid(), image_size=32)
    folds = {}
    for handling in ("ignore", "group"):
        run = fit_head("logreg", workspace=workspace, C=1.0, near_duplicates=handling)
        held = hold_out_folds(workspace, run, 5)
        folds[handling] = dict(zip(held.table.paths, held.fold.tolist(), strict=True))
        assert np.array_equal(held.fold, run.predictions().fold)
    together = {
        handling: sum(fold[f"ash/000{k}.png"] == fold[f"ash/000{k}-again.jpg"] for k in range(1, 5))
        for handling, fold in folds.items()
    }
    assert together["ignore"] < together["group"] == 4
