"""Features of one spec are never taken for those of another, whichever field differs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cache_helpers import arrays, digests, manifest_of

from tlx.cache.rows import RowReader
from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.classify.table import load_table
from tlx.errors import DataError, FormatError, TlxError
from tlx.workspace import Workspace

SPEC = FeatureSpec("vgg16", "0" * 64, "caffe", 224)
OTHER = {
    "backbone": "vgg19",
    "weights": "0" * 63 + "1",
    "preprocessing": "torch",
    "image_size": 225,
    "layer": "block5_pool",
    "pooling": "max",
    "fit": "crop",
    "interpolation": "bicubic",
    "view": 1,
    "precision": "bfloat16",
    "dtype": "float16",
    "decoder": 2,
}
FIELDS = [field.name for field in dataclasses.fields(FeatureSpec)]


def test_each_field_of_the_spec_is_here():
    assert list(OTHER) == FIELDS


@pytest.fixture(params=FIELDS)
def other(request) -> FeatureSpec:
    """The spec with one field changed."""
    return dataclasses.replace(SPEC, **{request.param: OTHER[request.param]})


@pytest.fixture
def place(tmp_path) -> Workspace:
    """A workspace with a data set of 8 images and their features of the spec."""
    place = Workspace(tmp_path)
    FeatureStore(place.cache, SPEC.json).add_shard(*arrays(range(8)))
    manifest = manifest_of(range(8))
    manifest.record_source(SPEC.fingerprint, SPEC.json, "imagenet")
    manifest.save(place.manifest_path("data"))
    return place


def test_the_store_of_another_spec_has_none(place, other):
    assert [*SPEC.difference(other)] == [
        name for name in FIELDS if getattr(SPEC, name) != getattr(other, name)
    ]
    store = FeatureStore(place.cache, other.json)
    assert store.folder != FeatureStore(place.cache, SPEC.json).folder
    assert not store.has(digests(range(8))).any()
    with pytest.raises(DataError, match="8 of 8 images have no features"):
        store.gather(digests(range(8)))
    with pytest.raises(DataError, match="8 of 8 images have no features"):
        RowReader(store, digests(range(8)))


def test_a_shard_moved_to_the_folder_of_another_spec_is_set_aside(place, other):
    """As after a rename by hand: the folder's name alone is not believed."""
    right = FeatureStore(place.cache, SPEC.json)
    store = FeatureStore(place.cache, other.json)
    right.folder.rename(store.folder)
    assert store.digests() == set()
    (problem,) = store.problems
    assert "it holds features of another spec" in problem


def test_a_head_is_not_fitted_on_features_of_another_spec(place, other):
    with pytest.raises(TlxError):
        load_table(place, "data", other.fingerprint)
    assert np.array_equal(load_table(place, "data", SPEC.fingerprint).X, arrays(range(8))[1])


def test_a_spec_comes_back_and_one_with_an_unknown_field_is_refused(other):
    assert FeatureSpec.from_json(other.json) == other
    with pytest.raises(FormatError, match="not a feature spec of this version"):
        FeatureSpec.from_json(other.json.replace('"backbone"', '"backbones"'))


def test_the_fingerprint_of_before_stays():
    """Stores are found by it: no field may be renamed, added or given another form."""
    spec = FeatureSpec("efficientnet-lite0", "a" * 64, "(x-127)/128", 224)
    assert spec.fingerprint == "59198a5fc8fc8c186c2376972c0b980128134cb0f0deff487169820c8915b12d"
