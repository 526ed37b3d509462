import os

import numpy as np
import pytest

import tlx
from tlx.classify.duplicates import (
    Duplicates,
    ToldDuplicates,
    check_handling,
    find_duplicates,
    find_duplicates_unasked,
    handle_duplicates,
    search_ahead,
)
from tlx.classify.near import NearPairs
from tlx.classify.table import load_table
from tlx.errors import UnknownNameError


def pairs(*of):
    a, b = np.array(of, np.int64).reshape(-1, 2).T
    return NearPairs(a, b, np.full(len(a), 0.9, np.float32))


@pytest.fixture
def zoo(place, add_dataset, draw_thumbs):
    """60 images of noise under two labels; each of the last 30 is nearly one of the first."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 40)).astype(np.float32)
    X = np.r_[X, X + 0.05 * rng.normal(size=X.shape).astype(np.float32)]
    thumbs = draw_thumbs(30)
    y = rng.permutation(np.arange(30) % 2)
    add_dataset("zoo", X, np.r_[y, y], thumbs=np.r_[thumbs, thumbs])
    return place


def look(place):
    manifest = place.load_manifest("zoo")
    return find_duplicates(place, (manifest, load_table(place, manifest)))


def test_near_duplicates_are_joined_to_groups_through_others():
    found = Duplicates(np.array([0, 1, 2, 3, 3, 4]), pairs((0, 1), (3, 4)))
    groups = found.join(np.array([7, 7, 8, 9, 9, 8]))
    assert groups[0] == groups[1]
    assert len({*groups[2:].tolist()}) == 1
    assert groups[0] != groups[2]


def test_each_fold_is_told_what_the_others_have_of_it():
    found = Duplicates(np.arange(6), pairs((0, 1), (2, 3)))
    everything, fold = np.arange(6), np.array([0, 1, 0, 0, 1, 1])
    assert found.told(everything, fold, everything) == ToldDuplicates("ignore", 2)


def test_a_validation_split_is_told_what_train_has_of_it():
    found = Duplicates(np.arange(6), pairs((0, 4), (1, 5), (2, 3)))
    told = found.told(np.array([4, 5]), np.zeros(2, int), np.array([0, 2, 3, 8]))
    assert told.across == 1  # row 8 is a view of row 2


def test_they_are_found_once_and_then_read(zoo, monkeypatch):
    first = look(zoo)
    assert len(first.pairs) == 30
    monkeypatch.setattr("tlx.classify.duplicates.find_near_pairs", None)
    again = look(zoo)
    assert np.array_equal(again.pairs.first, first.pairs.first)
    assert np.array_equal(again.pairs.similarity, first.pairs.similarity)


@pytest.mark.parametrize("damage", [b"", b"tlx-near 1", None])
def test_a_damaged_file_is_not_believed(zoo, damage):
    look(zoo)
    (path,) = zoo.near.glob("*.h5")
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:] if damage is None else damage)
    assert len(look(zoo).pairs) == 30
    assert path.read_bytes() == whole


def test_old_files_go_when_there_are_many(zoo):
    zoo.near.mkdir()
    for k in range(20):
        old = zoo.near / f"{k:064x}.h5"
        old.write_bytes(b"")
        os.utime(old, (k, k))
    look(zoo)
    assert len(list(zoo.near.iterdir())) == 16
    assert not (zoo.near / f"{0:064x}.h5").exists()


def test_where_nothing_can_be_written_they_are_found_each_time(zoo, deny):
    deny(zoo.root, 0o555)
    assert len(look(zoo).pairs) == 30


def test_pictures_make_random_labels_look_learned_unless_copies_are_kept_on_one_side(zoo):
    ignored = tlx.fit_head("knn", workspace=zoo, k=1)
    grouped = tlx.fit_head("knn", workspace=zoo, k=1, near_duplicates="group")
    assert ignored.metrics["accuracy"].value > 0.7
    assert ignored.info.near_duplicates.across > 30
    assert grouped.metrics["accuracy"].value < 0.7
    assert grouped.info.near_duplicates == ToldDuplicates("group", 0)
    assert tlx.load_run(grouped.id, zoo).info.near_duplicates == ToldDuplicates("group", 0)
    (out,) = tlx.compare_heads(workspace=zoo).left_out
    assert (out.run.id, out.reason) == (
        ignored.id, "other folds (its near-duplicates are not grouped)",
    )  # fmt: skip


def test_groups_of_other_features_are_those_asked_for(zoo):
    table = load_table(zoo, "zoo")
    (joined,), found = handle_duplicates(zoo, [table], "group", table.sources)
    assert found.grouped
    assert len(np.unique(joined.groups)) == 30


def test_one_search_serves_all_labels_and_splits(zoo, monkeypatch):
    whole = look(zoo)
    monkeypatch.setattr("tlx.classify.duplicates.find_near_pairs", None)
    manifest = zoo.load_manifest("zoo")
    some = load_table(zoo, manifest).paths[:40]
    manifest.label[[path not in some for path in manifest.path]] = -1
    found = find_duplicates(zoo, (manifest, load_table(zoo, manifest)))
    assert len(found.pairs) == 10
    assert set(found.pairs.similarity) <= set(whole.pairs.similarity)
    assert found.pairs.second.max() < 40


def test_many_images_are_searched_when_asked_for_alone(zoo, monkeypatch):
    monkeypatch.setattr("tlx.classify.duplicates._UNASKED", 59)
    manifest = zoo.load_manifest("zoo")
    part = manifest, load_table(zoo, manifest)
    assert find_duplicates_unasked(zoo, part) is None
    assert tlx.fit_head("lda", workspace=zoo).info.near_duplicates is None
    monkeypatch.setattr("tlx.classify.duplicates._PAIRS_EACH", 60)
    fingerprint = manifest.sources[-1]["fingerprint"]
    search_ahead(zoo, "zoo", fingerprint, new=59)  # 60 images are 3,600 pairs
    assert find_duplicates_unasked(zoo, part) is None
    search_ahead(zoo, "zoo", fingerprint, new=60)
    assert len(find_duplicates_unasked(zoo, part).pairs) == 30
    assert tlx.fit_head("lda", workspace=zoo).info.near_duplicates.across > 30


def test_pairs_kept_of_one_search_are_not_taken_for_those_of_the_other(zoo, monkeypatch):
    assert look(zoo).pairs.exhaustive
    monkeypatch.setattr("tlx.classify.cosine.MANY", 59)
    assert not look(zoo).pairs.exhaustive
    assert len(list(zoo.near.glob("*.h5"))) == 2
    monkeypatch.setattr("tlx.classify.duplicates.find_near_pairs", None)
    assert not look(zoo).pairs.exhaustive  # as it is read
    monkeypatch.setattr("tlx.classify.cosine.MANY", 60)
    assert look(zoo).pairs.exhaustive


def test_what_is_no_handling_is_said():
    check_handling("group")
    with pytest.raises(UnknownNameError, match="group"):
        check_handling("groups")
