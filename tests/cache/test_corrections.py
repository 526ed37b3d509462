"""Corrections: what they do to a manifest, and that their file is checked when it is read."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from cache_helpers import manifest_of

from tlx.cache.corrections import LEFT_OUT, Correction, Corrections, label_names
from tlx.cache.hdf5 import NewerFormatError
from tlx.cache.identity import canonical_json, fingerprint_of
from tlx.errors import FormatError, StorageError


@pytest.fixture
def manifest():
    """Return a manifest of 6 images, half of them cats."""
    found = manifest_of(range(6), "pets", "/pets")
    found.class_names = ("cats", "dogs")
    found.label = np.array([0, 0, 0, 1, 1, 1], np.int32)
    return found


def decide(manifest, row, label, action="relabel", **more):
    """Return the decision that one image has another label, or none."""
    digest = manifest.digest[row].tobytes().hex()
    source = label_names(manifest)[row]
    fields = {"path": manifest.path[row], "source": source, "digest": digest, **more}
    return Correction(action="drop" if label is None else action, label=label, **fields)


def corrections_of(*decisions):
    return Corrections("pets", {one.path: one for one in decisions})


def test_without_corrections_a_manifest_is_what_it_is(manifest):
    assert Corrections("pets").correct(manifest).manifest is manifest


def test_an_image_gets_the_label_that_it_was_given(manifest):
    corrected = corrections_of(decide(manifest, 0, "dogs")).correct(manifest)
    assert label_names(corrected.manifest) == ["dogs", "cats", "cats", "dogs", "dogs", "dogs"]
    assert corrected.stale == {}
    assert label_names(manifest)[0] == "cats", "the manifest itself is as it was"


def test_an_image_that_is_left_out_has_no_label_and_cannot_be_used(manifest):
    found = corrections_of(decide(manifest, 0, None)).correct(manifest).manifest
    assert (found.label[0], found.error[0], found.usable[0]) == (-1, LEFT_OUT, False)
    assert found.usable[1:].all()


def test_a_new_class_is_one_of_the_classes_in_their_order(manifest):
    found = corrections_of(decide(manifest, 0, "bats")).correct(manifest).manifest
    assert found.class_names == ("bats", "cats", "dogs")
    assert label_names(found) == ["bats", "cats", "cats", "dogs", "dogs", "dogs"]


def test_a_class_without_any_image_left_is_no_class(manifest):
    all_dogs = corrections_of(*(decide(manifest, row, "dogs") for row in range(3)))
    assert all_dogs.correct(manifest).manifest.class_names == ("dogs",)


def test_correcting_twice_is_correcting_once(manifest):
    corrections = corrections_of(decide(manifest, 0, "dogs"), decide(manifest, 1, None))
    once = corrections.correct(manifest)
    again = corrections.correct(once.manifest)
    assert label_names(again.manifest) == label_names(once.manifest)
    assert again.stale == {}


def test_a_label_that_was_kept_changes_nothing(manifest):
    corrections = corrections_of(decide(manifest, 0, "cats", "keep"))
    assert label_names(corrections.correct(manifest).manifest) == label_names(manifest)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"path": "gone.png"}, "no longer there"),
        ({"digest": "0" * 64}, "another image is there now"),
        ({"source": "bats"}, "the folders say cats now, not bats"),
    ],
)
def test_a_correction_of_what_is_no_longer_so_is_not_applied_and_told(manifest, wrong, why):
    corrected = corrections_of(decide(manifest, 0, "dogs", **wrong)).correct(manifest)
    assert label_names(corrected.manifest) == label_names(manifest)
    (reason,) = corrected.stale.values()
    assert why in reason


def test_a_correction_of_an_image_not_yet_embedded_waits(manifest):
    corrections = corrections_of(decide(manifest, 0, "dogs"))
    manifest.digest[0] = 0
    assert "not embedded yet" in corrections.correct(manifest).stale[manifest.path[0]]


def test_what_is_told_counts_those_in_effect_and_those_that_are_not(manifest):
    corrections = corrections_of(
        decide(manifest, 0, "dogs"), decide(manifest, 1, None), decide(manifest, 2, "cats", "keep")
    )
    (line,) = corrections.told(corrections.correct(manifest))
    assert line == "2 corrections of labels are applied (tlx relabel shows them)"
    manifest.digest[0] = 1
    (line,) = corrections.told(corrections.correct(manifest))
    assert line.startswith("1 correction of labels is applied; 1 correction of labels is not")


def test_what_is_saved_is_read_again_also_names_that_are_no_text(manifest, tmp_path):
    corrections = corrections_of(
        decide(manifest, 0, "dogs", path="caf\udce9 \u202e<b>\n.png"), decide(manifest, 1, None)
    )
    corrections.save(tmp_path / "pets.json")
    assert Corrections.load(tmp_path / "pets.json", "pets") == corrections
    assert os.listdir(tmp_path) == ["pets.json"]


def test_no_file_is_no_corrections(tmp_path):
    assert len(Corrections.load(tmp_path / "pets.json", "pets")) == 0


@pytest.fixture
def file(manifest, tmp_path):
    """Return the path of a file of one correction."""
    path = tmp_path / "pets.json"
    corrections_of(decide(manifest, 0, "dogs")).save(path)
    return path


def test_any_changed_byte_is_noticed(file):
    good = file.read_bytes()
    for place in range(0, len(good), 7):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(FormatError, match="tlx relabel --undo"):
            Corrections.load(file, "pets")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"format": 1}', "\xff"])
def test_what_is_no_file_of_corrections_is_refused(file, text):
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match="cannot be used"):
        Corrections.load(file, "pets")


def reseal(file, **changes):
    """Change a file and give it the hash of what it is now."""
    body = {**json.loads(file.read_text()), **changes}
    del body["sha256"]
    file.write_text(canonical_json({**body, "sha256": fingerprint_of(canonical_json(body))}))


@pytest.mark.parametrize(
    "change",
    [
        {"label": 3},
        {"label": None},
        {"label": ""},
        {"from": []},
        {"digest": "0"},
        {"action": "burn"},
        {"path": ""},
        {"time": "now"},
    ],
)
def test_a_file_whose_entries_cannot_be_is_refused(file, change):
    (entry,) = json.loads(file.read_text())["corrections"]
    reseal(file, corrections=[{**entry, **change}])
    with pytest.raises(FormatError, match="is damaged"):
        Corrections.load(file, "pets")


def test_a_path_that_is_there_twice_is_refused(file):
    reseal(file, corrections=json.loads(file.read_text())["corrections"] * 2)
    with pytest.raises(FormatError, match="is damaged"):
        Corrections.load(file, "pets")


def test_corrections_of_another_data_set_are_refused(file):
    with pytest.raises(FormatError, match="is of data set 'pets'"):
        Corrections.load(file, "cars")


def test_a_newer_file_is_left_alone(file):
    reseal(file, version=2)
    with pytest.raises(NewerFormatError, match="newer tlx"):
        Corrections.load(file, "pets")


def test_a_folder_in_its_place_is_told(tmp_path):
    (tmp_path / "pets.json").mkdir()
    with pytest.raises(StorageError, match=r"pets\.json"):
        Corrections.load(tmp_path / "pets.json", "pets")
