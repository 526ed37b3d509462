"""Fine-tuning as a whole: from embedded images to a run, on a real backbone at a small size."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tlx.classify.evaluate import evaluate_run
from tlx.classify.fit import fit_head
from tlx.classify.predict import predict_images
from tlx.classify.runs.best import load_run
from tlx.classify.runs.neighbours import read_neighbours
from tlx.classify.table import load_table
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.images import decode_image
from tlx.embed.pipeline import embed_images, make_spec
from tlx.errors import DataError, FitError, UnknownNameError
from tlx.finetune.api import Callbacks, finetune_head
from tlx.finetune.boundary import Boundary
from tlx.finetune.cut import Cut
from tlx.finetune.prepare import find_seed
from tlx.finetune.settings import Settings
from tlx.finetune.train import log_loss
from tlx.finetune.verdict import cross_fit
from tlx.lazy_imports import import_keras
from tlx.workspace import Workspace

# Keras 3 saves TensorFlow variables in a way that NumPy 2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = 64
QUICK = Settings(epochs=2, lr=1e-4, batch_size=8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory, class_folders):
    """Return a folder of 3 classes with train and validation."""
    root = tmp_path_factory.mktemp("finetune") / "photos"
    class_folders(root / "train", {"ash": 14, "birch": 14, "cedar": 14})
    for label in ("ash", "birch", "cedar"):  # the class of an image is in its folder's name
        for path in sorted((root / "train" / label).iterdir())[10:]:
            target = root / "validation" / label / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    return root


@pytest.fixture(scope="module")
def embedded(photos):
    """Return a workspace with embeddings and a weak head, whose loss is easily lowered."""
    workspace = photos.parent / "ws"
    embed_images(photos, workspace=workspace, image_size=SIZE, engine="tensorflow")
    fit_head("logreg", workspace=workspace, C=1e-3)
    return workspace


@pytest.fixture(scope="module")
def tuned(embedded):
    # The gain of so small a network on 12 images is within chance.
    return finetune_head(workspace=embedded, settings=QUICK, engine="tensorflow", keep="finetuned")


@pytest.fixture
def copy(embedded, tuned, tmp_path):
    return shutil.copytree(embedded, tmp_path / "ws")


@pytest.fixture
def files(photos):
    return sorted((photos / "validation").rglob("*.png"))


def proba_of(predictions) -> np.ndarray:
    return np.array([list(row.probabilities.values()) for row in predictions])


def test_the_network_starts_as_the_head(tuned, embedded):
    assert tuned.parity <= 1e-3
    head = load_run("logreg-1", embedded).metrics
    for name in ("accuracy", "log_loss", "ece"):
        assert tuned.head[name].value == pytest.approx(head[name].value, abs=1e-6)


def test_this_training_helps_and_the_network_is_kept_as_asked(tuned):
    epochs = tuned.training.epochs
    assert epochs[tuned.training.best_epoch].val_loss < epochs[0].val_loss
    assert (tuned.verdict.kept, tuned.verdict.better) == ("finetuned", False)
    assert "With 12 held-out images little can be told" in tuned.verdict.why
    assert tuned.run.info.finetune.better is False


def test_the_run_has_the_logits_of_the_held_out_images_by_epoch(tuned):
    logits, y = tuned.run.epoch_logits(), tuned.run.predictions().label
    told = [epoch.val_loss for epoch in tuned.training.epochs]
    assert [log_loss(y, one) for one in logits] == pytest.approx(told, abs=1e-6)


def test_the_figures_told_are_those_of_epochs_chosen_by_other_images(tuned):
    held = tuned.run.predictions()
    seed = load_run("logreg-1", tuned.run.folder.parent.parent).info.seed
    _, proba = cross_fit(held.label, tuned.run.epoch_logits()[1:], held.group, seed)
    np.testing.assert_allclose(held.probabilities, proba, atol=1e-5)


def test_what_can_be_kept_is_checked_before_any_work(tmp_path):
    with pytest.raises(UnknownNameError, match="what to keep"):
        finetune_head(workspace=tmp_path, keep="network")


def test_no_epochs_give_exactly_the_head(embedded, files):
    found = finetune_head(workspace=embedded, settings=Settings(epochs=0), engine="tensorflow")
    assert found.verdict.kept == "head"
    head, same = (predict_images(run, files, workspace=embedded) for run in ("logreg-1", found.run))
    assert np.array_equal(proba_of(head), proba_of(same))
    # And tell strangers alike.
    assert [row.stranger for row in head] == [row.stranger for row in same]
    assert all(row.stranger for row in same)


def test_a_network_that_is_kept_tells_no_strangers(tuned):
    assert read_neighbours(tuned.run) is None


@pytest.mark.slow
def test_no_epochs_export_a_model_with_the_probabilities_of_the_head(embedded, files):
    found = finetune_head(workspace=embedded, settings=Settings(epochs=0), engine="tensorflow")
    model = import_keras().models.load_model(found.run.folder / "model.keras")
    pixels = np.stack([decode_image(file.read_bytes(), SIZE).pixels for file in files])
    head = proba_of(predict_images("logreg-1", files, workspace=embedded, engine="tensorflow"))
    np.testing.assert_allclose(np.asarray(model(pixels, training=False)), head, atol=1e-5)


@pytest.mark.slow
def test_activations_are_computed_once(tuned, copy):
    again = finetune_head(workspace=copy, settings=QUICK, engine="none of these")
    assert again.verdict.kept == "head"  # as nobody asked for the network
    assert again.run.metrics == again.head
    assert again.boundary["reused"] == 42
    assert again.boundary["seconds"] == 0


class Interrupted:
    """An engine of zeros during whose third batch Ctrl-C is pressed."""

    name = "interrupted"
    note = ""
    output_shape = (2, 2, 320)

    def __init__(self) -> None:
        self.batches = 0
        self.seen = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.batches += 1
        if self.batches == 3:
            raise KeyboardInterrupt
        self.seen += len(batch)
        return np.zeros((len(batch), *self.output_shape), np.float32)


def test_ctrl_c_keeps_the_activations_of_the_batches_before(copy):
    place = Workspace(copy)
    backbone = get_backbone("efficientnet-lite0")
    spec = make_spec(backbone, image_size=SIZE)
    engine, cut = Interrupted(), Cut("any", 1, 1, Interrupted.output_shape)

    def boundary() -> Boundary:
        return Boundary(place, load_table(place), backbone, spec, cut, engine=engine)

    with pytest.raises(KeyboardInterrupt):
        boundary().compute(range(42))
    assert 0 < engine.seen < 42
    assert boundary().stored(range(42)) == engine.seen


@pytest.mark.slow
def test_equal_commands_give_equal_results(tuned, copy):
    again = finetune_head(workspace=copy, settings=QUICK)
    losses = [[e.val_loss for e in r.training.epochs] for r in (tuned, again)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_heads_still_take_the_embeddings(tuned, embedded):
    table = load_table(Workspace(embedded))
    assert table.sources[0]["fingerprint"] == load_run("logreg-1", embedded).source["fingerprint"]


@pytest.mark.slow
def test_predicting_gives_what_was_measured(tuned, embedded, files):
    found = predict_images(tuned.run, files, workspace=embedded, engine="tensorflow")
    right = [row.label == file.parent.name for row, file in zip(found, files, strict=True)]
    assert np.mean(right) == tuned.training.epochs[tuned.training.best_epoch].val_accuracy


@pytest.mark.slow
def test_a_run_that_was_moved_still_predicts(tuned, embedded, files, tmp_path):
    moved = load_run(str(shutil.copytree(tuned.run.folder, tmp_path / "moved")), tmp_path)
    here, there = (
        predict_images(run, files[:2], workspace=embedded, engine="tensorflow")
        for run in (tuned.run, moved)
    )
    assert np.allclose(proba_of(here), proba_of(there), atol=1e-6)


@pytest.mark.slow
def test_it_is_evaluated_like_any_head(tuned, copy, photos):
    found = evaluate_run(tuned.run.id, str(photos / "validation"), workspace=copy)
    best = tuned.training.epochs[tuned.training.best_epoch]
    assert found.metrics["accuracy"].value == pytest.approx(best.val_accuracy)


LOADER = """
import sys, json
import numpy as np, keras
assert not any(name.split(".")[0] == "tlx" for name in sys.modules)
model = keras.models.load_model(sys.argv[1])
pixels = np.load(sys.argv[2])
assert model.inputs[0].dtype == "uint8"
print(json.dumps(model.predict(pixels, verbose=0).tolist()))
"""


@pytest.mark.slow
def test_the_model_file_needs_no_tlx(tuned, embedded, files, tmp_path):
    from PIL import Image

    pixels = np.stack([decode_image(file.read_bytes(), SIZE).pixels for file in files[:4]])
    assert isinstance(Image.fromarray(pixels[0]), Image.Image)
    np.save(tmp_path / "pixels.npy", pixels)
    model = tuned.run.folder / "model.keras"
    script = tmp_path / "load.py"
    script.write_text(LOADER)
    process = subprocess.run(
        [sys.executable, str(script), str(model), str(tmp_path / "pixels.npy")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    alone = np.array(json.loads(process.stdout.splitlines()[-1]))
    ours = predict_images(tuned.run, files[:4], workspace=embedded, engine="tensorflow")
    assert np.allclose(alone, proba_of(ours), atol=1e-5)
    with zipfile.ZipFile(model) as archive:
        note = json.loads(archive.read("metadata.json"))["tlx"]
    assert note["class_names"] == ["ash", "birch", "cedar"]


@pytest.mark.slow
def test_images_held_out_by_folds_are_unseen_by_head_and_network(photos, tmp_path):
    shutil.copytree(photos / "train", tmp_path / "plain")
    embed_images(
        tmp_path / "plain", workspace=tmp_path / "ws", image_size=SIZE, engine="tensorflow"
    )
    fit_head("logreg", workspace=tmp_path / "ws", C=1e-3, folds=3)
    told = []
    found = finetune_head(
        workspace=tmp_path / "ws",
        settings=Settings(epochs=1, batch_size=8),
        unfreeze=2,
        engine="tensorflow",
        callbacks=Callbacks(log=told.append),
    )
    assert found.refitted
    assert "held-out fifth" in found.protocol
    scored = found.run.predictions()
    assert not {*map(bytes, scored.digest)} & {*map(bytes, scored.trained_on)}
    assert "fitted again without the held-out images" in told[1]


@pytest.mark.slow
def test_a_dense_head_is_a_seed_too(copy):
    fit_head("dense", workspace=copy)
    found = finetune_head(
        "dense-1", workspace=copy, settings=Settings(epochs=0), engine="tensorflow"
    )
    assert found.parity <= 1e-3


@pytest.mark.slow
def test_a_few_shot_head_that_is_kept_tells_what_it_learned_from_itself(copy):
    seed = fit_head("logreg", workspace=copy, C=1e-3, max_per_class=4, repeats=2, name="few")
    options = {"workspace": copy, "engine": "tensorflow", "settings": Settings(epochs=0)}
    found = finetune_head("few", **options).run
    assert np.array_equal(found.predictions().trained_on, seed.predictions().trained_on)
    assert found.info.trained_on == seed.info.trained_on
    assert found.info.prior == seed.info.prior


def test_a_head_of_neighbours_is_refused_with_those_that_can(copy):
    fit_head("knn", workspace=copy)
    with pytest.raises(FitError, match=r"Heads that can: .*logreg"):
        find_seed(Workspace(copy), "knn-1")


def test_a_fine_tuned_run_is_refused_with_its_seed(tuned, embedded):
    with pytest.raises(FitError, match="Start from logreg-1 again"):
        finetune_head(tuned.run.id, workspace=embedded)


@pytest.mark.slow
def test_mirrored_on_one_device_uses_it_and_says_so(copy):
    told = []
    found = finetune_head(
        workspace=copy,
        settings=Settings(epochs=0, strategy="mirrored"),
        engine="tensorflow",
        callbacks=Callbacks(log=told.append),
    )
    assert len(found.devices) == 1
    assert f"Training runs on {found.devices[0]} alone" in told[-1]


def test_too_large_activations_are_refused_before_any_work(embedded):
    with pytest.raises(DataError, match="--max-cache-gb 1"):
        finetune_head(workspace=embedded, unfreeze=30, max_cache_gb=1e-6)


@pytest.mark.slow
def test_an_image_that_changed_since_is_named(photos, tmp_path, picture):
    root = shutil.copytree(photos, tmp_path / "photos")
    embed_images(root, workspace=tmp_path / "ws", image_size=SIZE, engine="tensorflow")
    fit_head("logreg", workspace=tmp_path / "ws")
    (root / "train" / "ash" / "0003.png").write_bytes(picture("other"))
    with pytest.raises(DataError, match=r"0003\.png has changed since it was embedded"):
        finetune_head(workspace=tmp_path / "ws", unfreeze=2, engine="tensorflow")


@pytest.mark.slow
def test_auto_probes_each_candidate_and_takes_one(copy):
    rows = []
    found = finetune_head(
        workspace=copy,
        unfreeze="auto",
        settings=Settings(epochs=0),
        engine="tensorflow",
        callbacks=Callbacks(probe=rows.extend),
    )
    assert sum(row.chosen for row in rows) == 1
    assert found.choice.cut.name == next(row.cut for row in rows if row.chosen)


@pytest.mark.slow
def test_a_network_trained_whole_starts_as_the_head_too(copy):
    found = finetune_head(workspace=copy, unfreeze="all", settings=Settings(epochs=0))
    assert found.choice.cut.name == "input"
    assert found.parity <= 1e-3
