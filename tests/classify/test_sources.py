"""Which features are named, and means over augmented views: learned from, scored, predicted."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.classify.compare import compare_heads
from tlx.classify.curve import learning_curve
from tlx.classify.export import export_features
from tlx.classify.fit import fit_head
from tlx.classify.runs.best import load_run
from tlx.classify.sources import choose_sources, describe, embed_command, mean_of, name_of
from tlx.classify.table import load_features, load_table
from tlx.errors import DataError
from tlx.heads import LDAHead
from tlx.upkeep import prune_cache


@pytest.fixture
def photos(place, add_dataset, draw):
    """Return the features of 60 images, shape (4, 60, 8): plain, and three views of each."""
    X, y = draw(60, spread=1.5)
    add_dataset("photos", X, y)
    noise = np.random.default_rng(1).normal(0, 1, (3, *X.shape)).astype(np.float32)
    views = np.concatenate([X[None], X + noise])
    add_views(place, views[1:])
    return views


def add_views(place, views, images: int | None = None) -> None:
    """Store augmented views of the first images of ``photos``."""
    manifest = place.load_manifest("photos")
    plain = FeatureSpec.from_json(manifest.sources[-1]["spec"])
    for k, features in enumerate(views, 1):
        spec = dataclasses.replace(plain, view=k)
        with FeatureStore(place.cache, spec.json).writer() as writer:
            for one, feature in list(zip(manifest.digest_bytes(), features, strict=True))[:images]:
                writer.add(one, feature)


@pytest.mark.parametrize(("features", "K"), [("drawn@mean-views", 3), ("drawn@mean-views:2", 2)])
def test_an_image_is_the_mean_of_its_views(photos, place, features, K):
    data = load_features(features=features, workspace=place.root)
    np.testing.assert_allclose(data.X, photos[: K + 1].mean(axis=0), rtol=1e-5, atol=1e-6)
    assert len(data) == 60
    assert f"drawn@mean-views:{K}" in repr(data)


def test_each_part_of_a_join_may_be_a_mean(photos, place):
    data = load_features(features="drawn@mean-views:1+drawn", workspace=place.root)
    np.testing.assert_allclose(data.X[:, :8], photos[:2].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data.X[:, 8:], photos[0])


def test_the_name_of_sources_names_them_again(photos, place):
    table = load_table(place, features="drawn@mean-views+drawn")
    again = load_table(place, features=name_of(table.sources))
    assert again.sources == table.sources
    assert describe(table.sources).startswith("drawn at 8, weights random:0, mean of 3 views + ")


@pytest.mark.parametrize(
    ("features", "images", "cause", "views"),
    [
        ("drawn@mean-views", 0, "has no augmented views of drawn at 8", 5),
        (
            "drawn@mean-views",
            50,
            "10 of 60 images of data set 'photos' have no augmented view 1",
            2,
        ),
        ("drawn@mean-views:4", 60, "60 of 60 images of .* have no augmented view 3", 4),
    ],
)
def test_missing_views_name_the_command_that_makes_them(
    place, add_dataset, draw, features, images, cause, views
):
    X, y = draw(60)
    add_dataset("photos", X, y)
    add_views(place, np.stack([X, X])[: images and 2], images)
    with pytest.raises(DataError, match=cause) as caught:
        load_table(place, features=features)
    assert "tlx embed /nowhere/photos --backbone drawn" in caught.value.remedy
    assert caught.value.remedy.endswith(f"--views {views}")


def test_the_command_has_what_is_not_usual():
    spec = FeatureSpec("vgg16", "0" * 64, "caffe", 150, pooling="max", layer="block4_pool")
    source = {"fingerprint": spec.fingerprint, "spec": spec.json, "weights": "my weights.h5"}
    assert embed_command(source, "my photos", 3) == (
        "tlx embed 'my photos' --backbone vgg16 --weights 'my weights.h5' --layer block4_pool "
        "--pooling max --image-size 150 --views 3"
    )
    usual = FeatureSpec("efficientnet-lite0", "0" * 64, "none", 224)
    source = {"fingerprint": usual.fingerprint, "spec": usual.json, "weights": "imagenet"}
    assert embed_command(source, "photos", 5) == "tlx embed photos --views 5"


@pytest.mark.parametrize("option", ["views", "tta"])
def test_means_are_not_mixed_with_single_views(photos, place, option):
    with pytest.raises(DataError, match="averages augmented views already") as caught:
        fit_head(features="drawn@mean-views", workspace=place.root, **{option: 2})
    assert f"--{option}" in caught.value.remedy


def test_a_run_of_means_is_kept_compared_and_fitted_again(photos, place):
    fit_head("lda", workspace=place.root)
    run = fit_head("lda", features="drawn@mean-views", workspace=place.root)
    noted = json.loads((run.folder / "run.json").read_text())["sources"]
    assert [source["mean_views"] for source in noted] == [3]
    assert run.features.endswith("mean of 3 views")
    found = compare_heads(workspace=place.root)
    assert {row.run.id for row in found.rows} == {"lda-1", "lda-2"}
    fit_head("centroid", seed=1, workspace=place.root)
    again = compare_heads(workspace=place.root, refit=True).refitted["lda-2"]
    assert load_run(again, place.root).info.sources == run.info.sources


def test_a_curve_is_of_means_too(photos, place):
    curve = learning_curve("lda", features="drawn@mean-views", repeats=2, workspace=place.root)
    assert curve.n == 60


def test_held_out_images_are_scored_as_tta_predicts_them(photos, place):
    """The head is that of plain images; what is scored is what it says of means."""
    plain = fit_head("lda", shrinkage=0.5, workspace=place.root)
    run = fit_head("lda", shrinkage=0.5, tta=3, workspace=place.root)
    assert (run.info.tta, plain.info.tta) == (3, 0)
    assert json.loads((run.folder / "run.json").read_text())["tta"] == 3
    T = run.info.temperature / plain.info.temperature
    np.testing.assert_allclose(run.head().weights * T, plain.head().weights, rtol=1e-4)
    X, y = photos[0], load_features(workspace=place.root).y
    scored = run.predictions()
    k = scored.fold == 0
    rows = np.array([int(path.split("/")[1].split(".")[0]) for path in scored.path])
    head = LDAHead(shrinkage=0.5).fit(X[rows[~k]], y[rows[~k]])
    wanted = head.predict(photos.mean(axis=0)[rows[k]])
    np.testing.assert_array_equal(scored.probabilities[k].argmax(axis=1), wanted)


def test_a_run_with_tta_is_another_than_one_without(photos, place):
    fit_head("lda", workspace=place.root)
    run = fit_head("lda", tta=2, workspace=place.root)
    assert len(compare_heads(workspace=place.root).rows) == 2
    assert run.features.endswith(", tta 2")
    fit_head("lda", seed=1, workspace=place.root)
    again = compare_heads(workspace=place.root, refit=True).refitted
    assert load_run(again["lda-2"], place.root).info.tta == 2


def test_views_that_a_run_needs_are_not_pruned(photos, place):
    fit_head("lda", features="drawn@mean-views:2", workspace=place.root)
    changes = prune_cache(place, "drawn")
    assert sorted(change.images for change in changes) == [0, 60, 60, 60]
    load_features(features="drawn@mean-views:2", workspace=place.root)


def test_means_are_not_exported(photos, place, tmp_path):
    with pytest.raises(DataError, match="several kinds"):
        export_features(place, tmp_path / "f.h5", spec="drawn@mean-views:1")


def test_a_mean_is_in_single_precision_and_one_embedding_stays_as_it_is():
    one = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(mean_of([one]), one)
    assert mean_of([one.astype(np.float16), one]).dtype == np.float32


def test_of_a_backbone_embedded_twice_the_latest_is_meant(place, add_dataset, draw):
    add_dataset("photos", *draw(20))
    manifest: Manifest = place.load_manifest("photos")
    other = FeatureSpec("drawn", "random:0", "none", 16)
    manifest.record_source(other.fingerprint, other.json, "none")
    (found,) = choose_sources(manifest, "drawn")
    assert found["fingerprint"] == other.fingerprint
