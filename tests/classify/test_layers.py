"""``features="auto"``: the last layer alone, or others too where inner folds say that they help."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.classify.compare import compare_heads
from tlx.classify.curve import learning_curve
from tlx.classify.fit import fit_head, fit_heads
from tlx.classify.layers import cached_layers, load_candidates
from tlx.classify.runs.best import load_run
from tlx.classify.table import load_table
from tlx.errors import DataError, FormatError


@pytest.fixture
def photos(place, add_dataset, draw):
    """Return a function that gives 120 images of ``photos`` their last layer and an earlier one."""

    def make(*, helps: bool, split=None, views: int = 0) -> np.ndarray:
        X, y = draw(120, spread=2.0)
        noise = np.random.default_rng(1).normal(0, 1, (120, 3)).astype(np.float32)
        add_dataset("photos", X, y, split=split)
        low = noise + (2 * y[:, None] if helps else 0)
        add_layer(place, low.astype(np.float32))
        for k in range(1, views + 1):
            add_layer(place, X + 0.1, layer="last", view=k)
            add_layer(place, low.astype(np.float32), view=k)
        return low

    return make


def add_layer(place, features, images: int | None = None, note: bool = True, **changes) -> None:
    """Store features of the first images of ``photos``; note the spec unless it is of a view."""
    manifest = place.load_manifest("photos")
    plain = FeatureSpec.from_json(manifest.sources[0]["spec"])
    spec = dataclasses.replace(plain, **{"layer": "low", **changes})
    with FeatureStore(place.cache, spec.json).writer() as writer:
        for one, feature in list(zip(manifest.digest_bytes(), features, strict=True))[:images]:
            writer.add(one, feature)
    if note and not spec.view:
        manifest.record_source(spec.fingerprint, spec.json, "none")
        manifest.save(place.manifest_path("photos"))


def layers(run) -> list[str]:
    return [FeatureSpec.from_json(source["spec"]).layer for source in run.info.sources]


@pytest.mark.parametrize("model", ["logreg", "vote"])
@pytest.mark.parametrize("split", [None, ["train"] * 80 + ["validation"] * 40])
def test_a_layer_that_carries_the_signal_is_chosen(photos, place, model, split):
    photos(helps=True, split=split)
    run = fit_head(model, features="auto", workspace=place.root)
    last = place.load_manifest("photos").sources[0]["fingerprint"]
    alone = fit_head(model, features=last, workspace=place.root)
    found = run.info.features_chosen
    assert "low" in layers(run)
    assert found["kept"] == " + ".join(layers(run))
    assert sum(each["chosen"] for each in found["candidates"]) == found["fits"]
    assert [each["features"] for each in found["candidates"]] == ["last", "low", "last + low"]
    assert run.metrics["log_loss"].value < 0.8 * alone.metrics["log_loss"].value


@pytest.mark.parametrize("model", ["logreg", "vote"])
@pytest.mark.parametrize("split", [None, ["train"] * 80 + ["validation"] * 40])
def test_a_layer_of_noise_is_not_chosen(photos, place, model, split):
    photos(helps=False, split=split)
    run = fit_head(model, features="auto", workspace=place.root)
    assert layers(run) == ["last"]
    first = run.info.features_chosen["candidates"][0]
    assert (first["gain"], first["standard_error"]) == (0, 0)
    assert first["chosen"] == run.info.features_chosen["fits"]
    alone = fit_head(model, features=run.info.sources[0]["fingerprint"], workspace=place.root)
    assert run.metrics == alone.metrics


def test_the_run_predicts_with_what_was_chosen(photos, place):
    photos(helps=True)
    run = load_run(fit_head("lda", features="auto", workspace=place.root).id, place.root)
    table = load_table(place, features="+".join(s["fingerprint"] for s in run.info.sources))
    proba = run.predict_proba(table.X)
    assert (proba.argmax(axis=1) == table.y).mean() > 0.9


@pytest.mark.slow
def test_all_heads_choose_each_for_itself(photos, place):
    """Also with fixed parameters, for which there are inner folds only to choose features."""
    photos(helps=True)
    fitted = fit_heads(["logreg", "lda", "knn"], features="auto", workspace=place.root)
    assert all("low" in layers(run) for run in fitted.runs)
    fixed = fit_head("logreg", features="auto", workspace=place.root, C=0.01)
    assert "low" in layers(fixed)
    assert fixed.info.params["C"] == 0.01


@pytest.mark.parametrize(
    "options",
    [
        {"views": 1},
        {"tta": 1},
        {"repeats_cv": 2},
        {"max_per_class": 20, "repeats": 2},
    ],
)
def test_other_ways_to_learn_and_to_score_go_with_it(photos, place, options):
    photos(helps=True, views=1)
    run = fit_head("lda", features="auto", workspace=place.root, **options)
    assert "low" in layers(run)


def test_with_one_image_a_class_nothing_is_chosen(photos, place):
    photos(helps=True)
    options = {"max_per_class": 1, "repeats": 1}
    run = fit_head("lda", features="auto", workspace=place.root, **options)
    assert layers(run) == ["last"]


def test_images_without_an_earlier_layer_can_be_left_out(photos, place, add_dataset, draw):
    X, y = draw(120)
    add_dataset("photos", X, y)
    add_layer(place, X[:, :3], images=90)
    tables = load_candidates(place, features="auto", allow_missing=True)
    assert [table.X.shape for table in tables] == [(90, 8), (90, 3), (90, 11)]
    np.testing.assert_array_equal(tables[0].X, X[:90])
    with pytest.raises(DataError, match="30 of 120 images have no features"):
        load_candidates(place, features="auto")


def test_layers_differ_in_nothing_else(photos, place):
    low = photos(helps=True)
    add_layer(place, low, pooling="max")
    add_layer(place, low, layer="lower")
    found = cached_layers(place.load_manifest("photos"))
    specs = [FeatureSpec.from_json(source["spec"]) for source in found]
    assert {spec.pooling for spec in specs} == {"avg"}
    assert specs[0].layer == "last"
    assert {spec.layer for spec in specs} == {"last", "low", "lower"}


def test_a_single_layer_is_no_choice(place, add_dataset, draw):
    add_dataset("photos", *draw(40))
    with pytest.raises(DataError, match="one layer only, last") as error:
        fit_head(features="auto", workspace=place.root)
    assert "tlx embed /nowhere/photos --backbone drawn" in str(error.value)
    assert "--layer LAYER" in str(error.value)
    assert "--views" not in str(error.value)


def test_only_heads_choose(photos, place):
    photos(helps=True)
    with pytest.raises(DataError, match="chosen while heads are fitted"):
        learning_curve(features="auto", workspace=place.root)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (None, None),
        (None, {"kept": "last"}),
        ("kept", "another"),
        ("kept", ["last"]),
        ("fits", -1),
        ("candidates", [5]),
        ("candidates", []),
        ("features", "last\x1b[2J"),
        ("gain", "much"),
        ("standard_error", float("nan")),
        ("chosen", 0.5),
    ],
)
def test_a_choice_that_tlx_did_not_write_is_refused(photos, place, name, value):
    photos(helps=False)
    run = fit_head("centroid", features="auto", workspace=place.root, temperature=0.1)
    path = run.folder / "run.json"
    info = json.loads(path.read_text())
    if name is None:
        info["features_chosen"] = value
    elif name in info["features_chosen"]:
        info["features_chosen"][name] = value
    else:
        info["features_chosen"]["candidates"][0][name] = value
    path.write_text(json.dumps(info))
    with pytest.raises(FormatError, match="features_chosen"):
        load_run(run.id, place.root)


def test_refit_takes_the_features_that_were_kept(photos, place):
    photos(helps=True)
    run = fit_head("lda", features="auto", workspace=place.root)
    fit_head("logreg", features="drawn", workspace=place.root, seed=1)
    compared = compare_heads(refit=True, workspace=place.root)
    again = load_run(compared.refitted[run.id], place.root)
    assert again.info.sources == run.info.sources
    assert again.info.features_chosen is None
