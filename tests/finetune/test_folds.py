"""Fine-tuning without a validation split: each fold is held out once, then all are learned."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.folds import stratified_group_folds
from tlx.classify.predict import predict_images
from tlx.classify.runs.best import load_run
from tlx.classify.scoring.metrics import score
from tlx.embed.pipeline import embed_images
from tlx.errors import DataError, FitError
from tlx.finetune.api import Callbacks, finetune_head
from tlx.finetune.folds import check_folds, pool_logits, pool_trainings
from tlx.finetune.settings import Epoch, Settings, Training
from tlx.finetune.train import log_loss
from tlx.finetune.verdict import compare_losses, cross_fit
from tlx.lazy_imports import import_keras

# Keras 3 saves TensorFlow variables in a way that NumPy 2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

QUICK = Settings(epochs=3, lr=1e-3, batch_size=8)
K, N = 3, 36


@pytest.fixture(scope="module")
def stages(tmp_path_factory, class_folders):
    """Return a folder with ``data/`` of 3 x 12 images and the weak head of a tiny network."""
    folder = tmp_path_factory.mktemp("folds")
    class_folders(folder / "data", dict.fromkeys(("ash", "birch", "cedar"), N // 3))
    keras = import_keras()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    pixels = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 128, offset=-1.0)(pixels)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="trunk")(x)
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="block1")(x)
    x = layers.Conv2D(8, 3, name="block2")(x)
    keras.Model(pixels, x).save(folder / "tiny.keras")
    embed_images(
        folder / "data",
        backbone=f"keras:{folder / 'tiny.keras'}",
        workspace=folder / "ws",
        image_size=32,
        engine="tensorflow",
    )
    fit_head("logreg", workspace=folder / "ws", C=1e-3, folds=K)
    return folder


@pytest.fixture
def workspace(stages, tmp_path):
    return shutil.copytree(stages / "ws", tmp_path / "ws")


def tune(workspace, *, told=None, **options):
    options = {"settings": QUICK, "unfreeze": "block1", "folds": K, **options}
    callbacks = Callbacks(log=(told if told is not None else []).append)
    return finetune_head(workspace=workspace, engine="tensorflow", callbacks=callbacks, **options)


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def tuned(stages, told):
    return tune(stages / "ws", keep="finetuned", told=told)


def test_each_image_is_held_out_by_the_fold_of_the_seed_run(tuned, stages):
    scored, before = tuned.run.predictions(), load_run("logreg-1", stages / "ws").predictions()
    assert sorted(scored.path) == sorted(before.path)
    assert dict(zip(scored.path, scored.fold, strict=True)) == dict(
        zip(before.path, before.fold, strict=True)
    )
    assert tuned.protocol == "3-fold"


def test_the_head_has_the_worth_that_its_own_run_tells(tuned, stages):
    before = load_run("logreg-1", stages / "ws").metrics
    for name in ("accuracy", "log_loss", "ece"):
        assert tuned.head[name].value == pytest.approx(before[name].value, abs=1e-6)


def test_what_is_told_of_an_image_was_chosen_by_other_folds(tuned):
    scored, logits = tuned.run.predictions(), tuned.run.epoch_logits()
    _, proba = cross_fit(scored.label, logits[1:], scored.group, fold=scored.fold)
    np.testing.assert_allclose(scored.probabilities, proba, atol=1e-5)
    narrow = score(scored.label, proba, scored.group)["log_loss"]
    wide = tuned.finetuned["log_loss"]
    assert wide.value == pytest.approx(narrow.value)
    assert wide.high - wide.low > 1.1 * (narrow.high - narrow.low)


def test_the_network_that_is_kept_learned_from_all_images_for_the_best_epochs(tuned, told):
    losses = [epoch.val_loss for epoch in tuned.training.epochs]
    logits, y = tuned.run.epoch_logits(), tuned.run.predictions().label
    assert [log_loss(y, one) for one in logits] == pytest.approx(losses, abs=1e-6)
    best = 1 + int(np.argmin(losses[1:]))
    assert tuned.training.best_epoch == best
    assert f"Training on all 36 images for {best} of 3 epochs." in told
    assert sum("on all images  train loss" in line for line in told) == best
    assert len(tuned.run.predictions().trained_on) == N


@pytest.mark.slow
def test_the_network_that_is_kept_started_from_the_head_of_all_images(workspace, stages):
    # One step of a rate near nothing: what is kept is what it started from, but for temperature.
    found = tune(workspace, keep="finetuned", settings=Settings(epochs=1, lr=1e-9))
    files = sorted((stages / "data").rglob("*.png"))
    logits = [
        np.log([list(row.probabilities.values()) for row in rows])
        for rows in (
            predict_images(run, files, workspace=workspace, engine="tensorflow")
            for run in ("logreg-1", found.run)
        )
    ]
    head, kept = (one - one.mean(axis=1, keepdims=True) for one in logits)
    scale = float((kept * head).sum() / (head * head).sum())
    np.testing.assert_allclose(kept, scale * head, atol=2e-3)


def test_the_folds_are_told_in_the_json(tuned):
    folds = json.loads(json.dumps(tuned.as_dict()))["folds"]
    assert [(fold["fold"], fold["n"]) for fold in folds] == [(0, 12), (1, 12), (2, 12)]
    assert all(fold["epochs"][-1]["val_loss"] > 0 for fold in folds)
    assert tuned.run.info.params["folds"] == K


def test_how_long_it_takes_is_told_before_and_after_the_first_fold(told):
    assert "3 + 1 trainings follow: one a fold, and on all images if the network is kept." in told
    rest = [number for number, line in enumerate(told) if line.startswith("The rest takes about")]
    second = next(number for number, line in enumerate(told) if line.startswith("Fold 2 of 3"))
    assert len(rest) == 1
    assert rest[0] < second


def test_activations_are_computed_once_for_all_folds(tuned, stages):
    again = tune(stages / "ws", settings=Settings(epochs=0))
    assert (tuned.boundary["reused"], again.boundary["reused"]) == (0, N)
    assert tuned.boundary["bytes"] == again.boundary["bytes"]


def assert_predicts_as_its_head(found, workspace, stages):
    files = sorted((stages / "data").rglob("*.png"))[:5]
    proba = [
        [list(row.probabilities.values()) for row in rows]
        for rows in (
            predict_images(run, files, workspace=workspace) for run in ("logreg-1", found.run)
        )
    ]
    assert proba[0] == proba[1]


def test_no_epochs_give_exactly_the_head_of_all_images(workspace, stages):
    found = tune(workspace, settings=Settings(epochs=0), keep="finetuned")
    assert found.verdict.kept == "head"
    assert_predicts_as_its_head(found, workspace, stages)


@pytest.mark.slow
def test_a_head_that_is_kept_is_that_of_all_images_after_training_too(workspace, stages):
    found = tune(workspace, keep="head")
    assert_predicts_as_its_head(found, workspace, stages)


@pytest.mark.slow
def test_after_ctrl_c_the_same_command_goes_on_with_the_folds_that_are_done(workspace, tuned):
    epochs = []

    def interrupts(epoch, left) -> None:
        epochs.append(epoch)
        if len(epochs) == 6:  # in the second fold: each has epoch 0 and three others
            raise KeyboardInterrupt

    options = {"settings": QUICK, "unfreeze": "block1", "folds": K, "keep": "finetuned"}
    with pytest.raises(KeyboardInterrupt):
        finetune_head(
            workspace=workspace,
            engine="tensorflow",
            callbacks=Callbacks(epoch=interrupts),
            **options,
        )
    assert len(list((workspace / "finetune").iterdir())) == 2
    found = finetune_head(workspace=workspace, engine="tensorflow", **options)
    assert [fold["resumed_at"] for fold in found.folds] == [3, 1, 0]
    assert not list((workspace / "finetune").iterdir())
    np.testing.assert_allclose(found.run.epoch_logits(), tuned.run.epoch_logits(), atol=1e-4)


def test_a_validation_split_needs_no_folds(stages, tmp_path):
    embed_images(
        stages / "data",
        backbone=f"keras:{stages / 'tiny.keras'}",
        workspace=tmp_path / "ws",
        image_size=32,
        engine="tensorflow",
        validation_fraction=0.3,
    )
    fit_head("logreg", workspace=tmp_path / "ws", C=1e-3)
    with pytest.raises(DataError, match="has a validation split, which is held out") as told:
        tune(tmp_path / "ws")
    assert told.value.remedy == "Leave out --folds."


@pytest.mark.parametrize(
    ("folds", "message"), [(1, "1 folds are too few"), (13, "fewer than the 13 folds")]
)
def test_too_few_and_too_many_folds_are_refused(stages, folds, message):
    with pytest.raises(DataError, match=message):
        tune(stages / "ws", folds=folds)


@pytest.mark.parametrize(
    ("option", "unfreeze", "settings", "average"),
    [
        ("--average", 20, Settings(), True),
        ("--strategy", 20, Settings(strategy="mirrored"), False),
        ("--unfreeze auto", "auto", Settings(), False),
    ],
)
def test_options_that_do_not_go_with_folds_are_named(option, unfreeze, settings, average):
    with pytest.raises(FitError, match=f"--folds and {option} do not go together"):
        check_folds(unfreeze, settings, average=average)


def training(*logits: float, diverged: bool = False) -> Training:
    """Return a training of a fold of one image of class 0 with these logits of it by epoch."""
    epochs = [Epoch(e, e / 10 if e else None, 1.0, 1.0, 2.0, False) for e in range(len(logits))]
    given = [np.array([[value, 0]], np.float32) for value in logits]
    return Training(epochs=epochs, logits=given, diverged=diverged)


def test_a_fold_that_stopped_early_keeps_its_last_epoch():
    logits = pool_logits(np.array([1, 0]), [training(0, 1), training(0, 2, 3)])
    assert logits[:, :, 0].tolist() == [[0, 0], [2, 1], [3, 1]]


def test_no_epoch_is_told_from_which_a_fold_diverged():
    logits = pool_logits(np.array([0, 1]), [training(0, 1, diverged=True), training(0, 2, 3)])
    assert len(logits) == 2


def test_the_epochs_of_all_folds_are_told_as_one_training():
    trainings = [training(0, 1), training(0, 2, 3)]
    y = np.array([0, 0])
    found = pool_trainings(y, pool_logits(np.array([0, 1]), trainings), trainings)
    assert [epoch.seconds for epoch in found.epochs] == [4.0, 4.0, 2.0]
    assert found.best_epoch == 2
    assert found.epochs[0].train_loss is None


def test_folds_widen_the_difference_of_losses():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    a, b = rng.dirichlet((2, 2), (2, 200))
    one, five = (compare_losses(y, a, b, np.arange(200), n_folds=k) for k in (1, 5))
    assert five.value == one.value
    assert five.high - five.low == pytest.approx(np.sqrt(1.8) * (one.high - one.low), rel=1e-6)


def test_folds_of_another_number_are_dealt_with_the_seed_of_the_run(workspace):
    found = tune(workspace, folds=2, settings=Settings(epochs=0)).run.predictions()
    seed = load_run("logreg-1", workspace).info.seed
    dealt = stratified_group_folds(found.label, found.group, 2, seed)
    assert np.array_equal(found.fold, dealt)


def test_the_run_tells_the_seed_that_dealt_its_folds(workspace):
    found = tune(workspace, settings=Settings(epochs=0, seed=5)).run.info
    assert found.seed == load_run("logreg-1", workspace).info.seed
    assert found.params["seed"] == 5
