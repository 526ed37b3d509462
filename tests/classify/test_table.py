"""Features gathered for heads."""

import dataclasses

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.classify.table import load_table
from tlx.errors import DataError


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
    with pytest.raises(DataError, match="has no augmented view 1") as caught:
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
