"""What is exported of a workspace: which features, which labels, and what a run said."""

import sys

import h5py
import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.classify.export import export_features
from tlx.classify.fit import fit_head
from tlx.classify.table import load_features
from tlx.errors import DataError, MissingExtraError, UnknownNameError
from tlx.relabel import relabel_images


def test_labels_are_those_that_were_corrected(add_dataset, draw, place, tmp_path):
    add_dataset("photos", *draw(8))
    relabel_images({"ant/0.png": "bee", "bee/1.png": None}, workspace=place, apply=True)
    assert export_features(place, tmp_path / "a.h5").images == 7
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["label"][:2].tolist() == [1, 0]


def test_the_spec_can_be_chosen_and_is_one(add_dataset, draw, place, tmp_path):
    X, y = draw(8)
    add_dataset("photos", X, y)
    manifest = place.load_snapshot("photos")
    other = FeatureSpec("other", "random:0", "none", 8)
    with FeatureStore(place.cache, other.json).writer() as writer:
        for digest in manifest.digest_bytes():
            writer.add(digest, np.zeros(3, np.float32))
    manifest.record_source(other.fingerprint, other.json, "none")
    manifest.save(place.manifest_path("photos"))
    assert export_features(place, tmp_path / "a").shape == (3,)
    assert export_features(place, tmp_path / "b", spec="drawn").shape == X.shape[1:]
    with pytest.raises(DataError, match="several kinds of features"):
        export_features(place, tmp_path / "c", spec="drawn+other")


def test_a_run_tells_what_it_said_of_images_held_out(add_dataset, draw, place, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    add_dataset("photos", *draw(40))
    run = fit_head("centroid", workspace=place.root)
    add_dataset("others", *draw(40))
    data = load_features("photos", workspace=place.root)
    for name in (run.id, "best"):
        file = tmp_path / f"{name}.parquet"
        export_features(place, file, "photos", format="parquet", run=name)
        table = parquet.read_table(file)
        scored = run.predictions()
        order = [scored.path.index(path) for path in data.paths]
        assert np.array_equal(table["probabilities"].to_pylist(), scored.probabilities[order])
        said = [run.class_names[k] for k in scored.probabilities[order].argmax(1)]
        assert table["predicted_label"].to_pylist() == said
        assert np.array_equal(table["features"].to_pylist(), data.X)
    with pytest.raises(DataError, match="scored on no image of data set 'others'"):
        export_features(place, tmp_path / "x", "others", format="parquet", run=run.id)
    with pytest.raises(UnknownNameError, match="unknown run: 'centriod-1'"):
        export_features(place, tmp_path / "x", "photos", format="parquet", run="centriod-1")
    assert not (tmp_path / "x").exists()


def test_predictions_go_into_parquet_alone(add_dataset, draw, place, tmp_path):
    add_dataset("photos", *draw(8))
    with pytest.raises(DataError, match=r"(?s)HDF5 file has no predictions.*--format parquet"):
        export_features(place, tmp_path / "a.h5", run="best")


def test_the_missing_extra_is_named_before_any_work(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tlx-vision\[pandas\]'"):
        export_features(place, tmp_path / "a", format="parquet")  # there is nothing to export
