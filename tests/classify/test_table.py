"""Features gathered for heads."""

import dataclasses
import hashlib
import sys

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.classify.fit import fit_head
from tlx.classify.table import load_features, load_table
from tlx.errors import DataError, MissingExtraError


@pytest.mark.parametrize("features", ["nonsense", "a+nonsense", ""])
def test_unknown_features_name_what_there_is(add_dataset, draw, features):
    X, y = draw(20)
    place = add_dataset("photos", X, y)
    with pytest.raises(LookupError, match="unknown features"):
        load_table(place, "photos", features)


def add_features(place, spec, X, record=True):
    """Store other features of the images of ``photos``."""
    manifest = place.load_manifest("photos")
    with FeatureStore(place.cache, spec.json).writer() as writer:
        for digest, feature in zip(manifest.digest_bytes(), X, strict=True):
            writer.add(digest, feature)
    if record:
        manifest.record_source(spec.fingerprint, spec.json, "none")
        manifest.save(place.manifest_path("photos"))


def test_features_of_two_backbones_stand_side_by_side(add_dataset, draw):
    X, y = draw(20)
    place = add_dataset("photos", X, y)
    add_features(place, FeatureSpec("other", "random:0", "none", 8), X[:, :3] * 2)
    table = load_table(place, "photos", "drawn+other")
    np.testing.assert_array_equal(table.X, np.hstack([X, X[:, :3] * 2]))
    assert len(table.sources) == 2
    np.testing.assert_array_equal(load_table(place, "photos").X, X[:, :3] * 2)  # the latest


def test_views_follow_the_plain_images_in_one_group_with_them(add_dataset, draw):
    X, y = draw(20)
    place = add_dataset("photos", X, y)
    plain = FeatureSpec.from_json(place.load_manifest("photos").sources[0]["spec"])
    add_features(place, dataclasses.replace(plain, view=1), X + 1, record=False)
    table = load_table(place, "photos", views=1)
    np.testing.assert_array_equal(table.X, np.vstack([X, X + 1]))
    np.testing.assert_array_equal(table.view, np.repeat([0, 1], 20))
    np.testing.assert_array_equal(table.groups[:20], table.groups[20:])


def test_missing_views_say_the_command_that_makes_them(add_dataset, draw):
    place = add_dataset("photos", *draw(20))
    with pytest.raises(DataError, match=r"20 of 20 images .* have no augmented view 1") as caught:
        load_table(place, "photos", views=2)
    assert "--views 2" in caught.value.remedy


def test_missing_features_are_counted_or_left_out_on_request(add_dataset, draw):
    X, y = draw(20)
    place = add_dataset("photos", X, y)
    manifest = place.load_manifest("photos")
    spec = FeatureSpec("other", "random:0", "none", 8)
    with FeatureStore(place.cache, spec.json).writer() as writer:
        for digest, feature in list(zip(manifest.digest_bytes(), X, strict=True))[:15]:
            writer.add(digest, feature)
    manifest.record_source(spec.fingerprint, spec.json, "none")
    manifest.save(place.manifest_path("photos"))
    with pytest.raises(DataError, match="5 of 20 images have no features"):
        load_table(place, "photos")
    np.testing.assert_array_equal(load_table(place, "photos", allow_missing=True).X, X[:15])


def test_features_for_ones_own_models(add_dataset, draw, place):
    X, y = draw(30)
    add_dataset("photos", X, y)
    data = load_features("photos", workspace=place.root)
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, y)
    assert data.paths[:2] == ["ant/0.png", "bee/1.png"]
    assert data.class_names == ("ant", "bee")
    assert len(data.groups) == len(data.split) == 30


def test_a_repr_is_one_line_however_many_images(add_dataset, draw, place):
    add_dataset("photos", *draw(400))
    data = load_features(workspace=place.root)
    assert repr(data) == "<Features of 'photos': 400 images x 8, drawn; ant 200, bee 200>"
    assert "<td>ant</td><td>200</td>" in data._repr_html_()


def test_folds_are_those_that_a_head_is_scored_on(add_dataset, draw, place):
    X, y = draw(40)
    copies = [hashlib.sha256(b"%d" % (i // 2)).digest() for i in range(40)]
    add_dataset("photos", np.repeat(X[:20], 2, axis=0), np.repeat(y[:20], 2), digests=copies)
    scored = fit_head("centroid", folds=4, seed=3, workspace=place.root).predictions()
    data = load_features(workspace=place.root)
    fold = dict(zip(scored.path, scored.fold.tolist(), strict=True))
    for k, (train, held_out) in enumerate(data.folds(4, seed=3)):
        assert [fold[data.paths[row]] for row in held_out] == [k] * len(held_out)
        assert not set(data.groups[train]) & set(data.groups[held_out])
        assert sorted([*train, *held_out]) == list(range(40))


def test_a_validation_split_is_the_only_fold(add_dataset, draw, place):
    X, y = draw(30)
    add_dataset("photos", X, y, split=["train"] * 20 + ["validation"] * 10)
    ((train, held_out),) = load_features(workspace=place.root).folds()
    assert (train.tolist(), held_out.tolist()) == (list(range(20)), list(range(20, 30)))


def test_a_single_split_is_one_split(add_dataset, draw, place):
    X, y = draw(30)
    add_dataset("photos", X, y, split=["train"] * 20 + ["test"] * 10)
    assert len(load_features(workspace=place.root)) == 20
    assert len(load_features(workspace=place.root, splits="test")) == 10


def test_pandas_has_a_column_a_feature(add_dataset, draw, place):
    pytest.importorskip("pandas")
    X, y = draw(30)
    add_dataset("photos", X, y)
    frame = load_features(workspace=place.root).to_pandas()
    assert list(frame.columns[:6]) == ["path", "label", "split", "group", "view", "feature_0"]
    np.testing.assert_array_equal(frame[[f"feature_{i}" for i in range(8)]].to_numpy(), X)
    assert frame["label"].tolist()[:2] == ["ant", "bee"]


def test_parquet_holds_the_same(add_dataset, draw, place, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    X, y = draw(30)
    add_dataset("photos", X, y)
    load_features(workspace=place.root).to_parquet(tmp_path / "f.parquet")
    table = parquet.read_table(tmp_path / "f.parquet")
    np.testing.assert_array_equal(table["feature_3"].to_numpy(), X[:, 3])
    assert table["path"].to_pylist()[0] == "ant/0.png"


@pytest.mark.parametrize(("method", "module"), [("to_pandas", "pandas"), ("to_parquet", "pyarrow")])
def test_a_missing_extra_is_named(add_dataset, draw, place, tmp_path, monkeypatch, method, module):
    add_dataset("photos", *draw(30))
    data = load_features(workspace=place.root)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"(?s){module} is not.*tlx-vision\[pandas\]"):
        getattr(data, method)(*([tmp_path / "f"] if method == "to_parquet" else []))
