"""Any run is one flat network, and says what the run says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import tlx
from tlx.classify.heads.registry import heads
from tlx.deploy.network import free_name, input_spec, run_network
from tlx.deploy.parity import reference
from tlx.embed.images import decode_image
from tlx.errors import DataError
from tlx.finetune.settings import Settings
from tlx.lazy_imports import import_keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

# What Keras trains takes seconds.
HEADS = [
    pytest.param(name, marks=pytest.mark.slow if head.cost >= 30 else ())
    for name, head in heads().items()
]


@pytest.fixture(scope="module")
def files(photos) -> list[str]:
    return [str(path) for path in sorted(photos.rglob("*.png"))[::5]]


@pytest.fixture(scope="module")
def pixels(files) -> np.ndarray:
    def read(path):
        with open(path, "rb") as file:
            return decode_image(file.read(), 16).pixels

    return np.stack([read(path) for path in files])


def difference(run, files, pixels) -> float:
    found = np.asarray(run_network(run)(pixels))
    assert found.dtype == np.float32
    return float(np.abs(found - reference(run, files).probabilities).max())


@pytest.mark.parametrize("model", HEADS)
def test_every_head_says_what_its_run_says(model, make_run, files, pixels):
    assert difference(make_run(model), files, pixels) <= 1e-5


@pytest.mark.slow
def test_hidden_layers_and_one_sigmoid_are_in_it(make_run, files, pixels):
    run = make_run("dense", "nested", hidden=(7,), dropout=0.1)
    assert difference(run, files, pixels) <= 1e-5


def test_a_backbone_with_models_inside_is_flat(make_run, files, pixels):
    run = make_run("logreg", "nested")
    keras = import_keras()
    assert difference(run, files, pixels) <= 1e-5
    assert not [layer for layer in run_network(run).layers if isinstance(layer, keras.Model)]


def test_backbones_of_one_size_are_joined(make_run, files, pixels):
    assert difference(make_run("lda", "plain+nested"), files, pixels) <= 1e-5


def test_input_output_and_embedding_have_their_names(make_run):
    run = make_run("logreg")
    network = run.as_keras()
    (image,) = network.inputs
    assert (image.name, image.dtype, image.shape) == ("image", "uint8", (None, 16, 16, 3))
    assert network.layers[-1].name == "probabilities"
    assert network.get_layer("embedding").output.shape == (None, 12)
    assert input_spec(run).image_size == 16


def test_two_input_sizes_are_refused(make_run):
    run = make_run("lda", "plain+nested")
    first, second = run.info.sources
    larger = {**second, "spec": second["spec"].replace('"image_size":16', '"image_size":32')}
    info = dataclasses.replace(run.info, sources=[first, larger])
    with pytest.raises(DataError, match="differ in image_size: 16 and 32"):
        run_network(dataclasses.replace(run, info=info))


def test_means_over_views_are_refused(make_run):
    run = make_run("logreg")
    views = dataclasses.replace(run.info, sources=[{**run.info.sources[0], "mean_views": 3}])
    for info in (dataclasses.replace(run.info, tta=2), views):
        with pytest.raises(DataError, match="averages over augmented views"):
            run_network(dataclasses.replace(run, info=info))


def test_a_classifier_of_scikit_learn_is_refused(leaving):
    from sklearn.linear_model import LogisticRegression

    run = tlx.fit_head(LogisticRegression(), workspace=leaving)
    with pytest.raises(DataError, match="scikit-learn's kind"):
        run.as_keras()


def test_a_name_is_free_once():
    taken = {"logits"}
    assert free_name("logits", taken) == "logits_"
    assert free_name("logits", taken) == "logits__"


def test_two_layers_of_one_backbone_are_one_forward_pass(leaving, photos, files, pixels, tmp_path):
    name, place = f"keras:{leaving.parent / 'plain.keras'}", tmp_path / ".tlx"
    prints = []
    for layer in ("last", "to_float"):
        options = {"layer": layer, "workspace": place, "engine": "tensorflow"}
        prints.append(tlx.embed_images(photos, backbone=name, **options).spec.fingerprint)
    run = tlx.fit_head("lda", features="+".join(prints), workspace=place)
    assert difference(run, files, pixels) <= 1e-5
    kinds = [type(layer).__name__ for layer in run_network(run).layers]
    assert kinds.count("Conv2D") == 1


def test_the_sources_of_a_head_keep_their_order(make_run, files, pixels):
    assert difference(make_run("logreg", "nested+plain"), files, pixels) <= 1e-5


@pytest.mark.slow
def test_a_fine_tuned_network_leaves_as_it_is(make_run, leaving, files, pixels):
    run = make_run("logreg", "plain")
    options = {"settings": Settings(epochs=1), "keep": "finetuned", "unfreeze": "all"}
    tuned = tlx.finetune_head(run.id, workspace=leaving, **options).run
    assert tuned.info.sources[0]["weights"] == "model.keras"
    assert difference(tuned, files, pixels) <= 1e-5
