"""Decisions of a person become corrections: read, held against the data set, applied, undone."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from cache_helpers import manifest_of, store_of
from hypothesis import given, settings
from hypothesis import strategies as st

from tlx.cache.corrections import label_names
from tlx.cache.identity import fingerprint_of
from tlx.cache.spec import FeatureSpec
from tlx.classify.audit import audit_run
from tlx.classify.compare import compare_heads
from tlx.classify.fit import fit_head
from tlx.classify.table import load_features
from tlx.errors import DataError, FormatError
from tlx.relabel import Change, list_corrections, read_decisions, relabel_images, undo_corrections
from tlx.workspace import Workspace

SPEC = FeatureSpec("test", "random:0", "none", 8).json
PATHS = ["a.png", 'b "b", c.png', "<script>.png", "\u202etfel.png", "caf\udce9.png", " d.png"]


@pytest.fixture
def place(tmp_path) -> Workspace:
    """Return a workspace with 6 images: 4 cats, 2 dogs."""
    return fill(Workspace(tmp_path / ".tlx"), PATHS, ["cats"] * 4 + ["dogs"] * 2)


def fill(place, paths, labels, root="/pets"):
    """Save a data set without features."""
    manifest = manifest_of(range(len(paths)), "pets", root)
    classes = sorted(set(labels))
    manifest.path, manifest.class_names = list(paths), tuple(classes)
    manifest.label = np.array([classes.index(label) for label in labels], np.int32)
    manifest.record_source(fingerprint_of(SPEC), SPEC, "imagenet")
    manifest.save(place.manifest_path("pets"))
    return place


@pytest.fixture
def write(tmp_path):
    """Return a function that writes lines as corrections.csv."""

    def write(*lines: str, encoding="utf-8"):
        path = tmp_path / "corrections.csv"
        path.write_bytes("\n".join([*lines, ""]).encode(encoding, "surrogateescape"))
        return path

    return write


def labels(place):
    """Return the label of each image by path, as every command reads it."""
    manifest = place.load_manifest("pets")
    return dict(zip(manifest.path, label_names(manifest), strict=True))


# Applying


def test_nothing_is_changed_unless_it_is_to_be_applied(place, write):
    told = relabel_images(write("path,label", "a.png,dogs"), workspace=place)
    assert (told.changed, told.applied) == ([Change("a.png", "cats", "dogs")], False)
    assert labels(place)["a.png"] == "cats"
    assert not place.corrections_path("pets").exists()


def test_applied_corrections_are_the_labels_wherever_they_are_read(place, write):
    file = write("path,label", "a.png,dogs", " d.png,")
    done = relabel_images(file, workspace=place, apply=True)
    assert done.changed == [Change("a.png", "cats", "dogs"), Change(" d.png", "dogs", None)]
    assert labels(place)["a.png"] == "dogs"
    assert labels(place)[" d.png"] is None
    assert label_names(place.load_snapshot("pets"))[0] == "cats", "the folders' word is still there"


def test_labels_come_from_a_mapping_too(place):
    done = relabel_images({"a.png": "dogs", " d.png": None}, workspace=place, apply=True)
    assert [change.after for change in done.changed] == ["dogs", None]


def test_what_the_page_saves_is_taken(place, write):
    digest = place.load_snapshot().digest[0].tobytes().hex()
    file = write(
        "path,action,label,from,digest",
        f"a.png,relabel,dogs,cats,{digest}",
        f"<script>.png,drop,dogs,cats,{place.load_snapshot().digest[2].tobytes().hex()}",
        "caf\udce9.png,keep,,dogs,",
    )
    done = relabel_images(file, workspace=place, apply=True)
    assert [change.after for change in done.changed] == ["dogs", None]
    assert done.kept == ["caf\udce9.png"]


def test_a_mark_of_utf_8_capitals_and_spaces_in_the_first_line_do_no_harm(place, write):
    file = write("\ufeffPath, Label", "a.png,dogs", "", encoding="utf-8")
    assert len(relabel_images(file, workspace=place).changed) == 1


def test_the_same_file_twice_says_that_nothing_is_to_do(place, write):
    file = write("path,action,label,from", "a.png,relabel,dogs,cats", "<script>.png,drop,,cats")
    relabel_images(file, workspace=place, apply=True)
    again = relabel_images(file, workspace=place, apply=True)
    assert (again.changed, again.same) == ([], 2)


def test_later_corrections_add_to_earlier_ones(place):
    relabel_images({"a.png": "dogs"}, workspace=place, apply=True)
    relabel_images({" d.png": "cats"}, workspace=place, apply=True)
    assert (labels(place)["a.png"], labels(place)[" d.png"]) == ("dogs", "cats")


def test_an_image_that_was_left_out_comes_back_with_a_label(place):
    relabel_images({"a.png": None}, workspace=place, apply=True)
    done = relabel_images({"a.png": "cats"}, workspace=place, apply=True)
    assert done.changed == [Change("a.png", None, "cats")]
    assert labels(place)["a.png"] == "cats"
    assert len(place.corrections("pets")) == 0


def test_a_new_class_must_be_named(place):
    with pytest.raises(DataError, match=r"the label 'bats'.*\n.*--new-class bats"):
        relabel_images({"a.png": "bats"}, workspace=place)
    relabel_images({"a.png": "bats"}, workspace=place, new_classes="bats", apply=True)
    assert place.load_manifest().class_names == ("bats", "cats", "dogs")
    relabel_images({" d.png": "bats"}, workspace=place, apply=True)  # it is one of them now


def test_a_slip_of_the_pen_names_the_nearest_class(place):
    with pytest.raises(DataError, match="Did you mean dogs"):
        relabel_images({"a.png": "dog"}, workspace=place)


@pytest.mark.parametrize("path", ["./train/a.png", "/pets/train/a.png", " train/a.png"])
def test_a_path_may_be_written_as_a_person_does(tmp_path, path):
    place = fill(Workspace(tmp_path / ".tlx"), ["train/a.png", "b.png"], ["cats", "dogs"])
    (change,) = relabel_images({path: "dogs"}, workspace=place).changed
    assert change.path == "train/a.png"


def test_a_path_from_the_current_folder_is_found(tmp_path, monkeypatch):
    place = fill(Workspace(tmp_path / ".tlx"), ["a.png", "b.png"], ["cats", "dogs"], tmp_path / "x")
    monkeypatch.chdir(tmp_path)
    assert len(relabel_images({"x/a.png": "dogs"}, workspace=place).changed) == 1


def test_a_name_that_is_no_utf_8_is_known_as_exports_write_it(place, write):
    (change,) = relabel_images(write("path,label", r"caf\xe9.png,cats"), workspace=place).changed
    assert change.path == "caf\udce9.png"


def test_spaces_round_a_class_count_only_where_it_has_them(tmp_path, write):
    place = fill(Workspace(tmp_path / ".tlx"), ["a.png", "b.png"], ["cats ", "dogs"])
    file = write("path,action,label,from", "a.png,relabel, dogs ,cats ", "b.png,relabel,cats ,dogs")
    done = relabel_images(file, workspace=place)
    assert [change.after for change in done.changed] == ["dogs", "cats "]


def test_another_data_set_can_be_named(place):
    other = manifest_of(range(3), "cars", "/cars")
    other.save(place.manifest_path("cars"))
    done = relabel_images({"a.png": "dogs"}, "pets", workspace=place, apply=True)
    assert done.dataset == "pets"
    assert not place.corrections_path("cars").exists()


# What does not fit


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("z.png,relabel,dogs,,", r"line 2: data set 'pets' has no image 'z\.png'"),
        ("x/a.png,relabel,dogs,,", r"Did you mean a\.png\?"),
        ("a.png,relabel,frogs,,", "line 2: no image has the label 'frogs'"),
        ("a.png,relabel,,,", "line 2: no label is given to 'a.png'"),
        ("a.png,burn,,,", r"line 2: unknown action 'burn'.\n.*relabel, drop"),
        ("a.png,,dogs,,", "line 2: unknown action ''"),
        ("a.png,relabel,dogs,bats,", "'a.png' has the label 'cats' now, not 'bats'"),
        ("a.png,keep,,dogs,", "'a.png' has the label 'cats' now, not 'dogs'"),
        ("a.png,relabel,dogs,,0123", "'a.png' is another image than when .*0123"),
        (",drop,,,", "line 2: the path is empty"),
        ("a.png,drop,,,,,", "line 2: 7 columns, the first line has 5"),
        ("caf\udce8.png,drop,,,", r"Save the file in UTF-8"),
    ],
)
def test_a_line_that_does_not_fit_is_told_and_nothing_is_applied(place, write, line, said):
    file = write("path,action,label,from,digest", line, " d.png,relabel,cats,,")
    with pytest.raises(DataError, match=said):
        relabel_images(file, workspace=place, apply=True)
    assert not place.corrections_path("pets").exists()


def test_the_first_of_several_lines_says_how_many_more_there_are(place, write):
    file = write("path,label", "y.png,dogs", "a.png,dogs", "z.png,dogs")
    with pytest.raises(
        DataError, match=r"line 2: .*\(1 more do not fit\)\.\n.*Nothing was changed"
    ):
        relabel_images(file, workspace=place)


def test_two_decisions_about_one_image_are_refused_unless_they_are_the_same(place, write):
    file = write("path,label", "a.png,dogs", "a.png,")
    with pytest.raises(DataError, match=r"line 3: 'a\.png' is there twice: relabel dogs in line 2"):
        relabel_images(file, workspace=place)
    assert (
        len(relabel_images(write("path,label", *["a.png,dogs"] * 2), workspace=place).changed) == 1
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "the first line of .* is ''"),
        (("path;label", "a.png;dogs"), "semicolons between its columns"),
        (("path\tlabel", "a.png\tdogs"), "tabs between its columns"),
        (("a.png,dogs",), r"the first line of .* is 'a\.png,dogs'"),
        (("path,label,label",), "two columns of one name"),
        (("path,label",), "no corrections: only its first line"),
        (('path,label\n"a.png' + "x" * 200_000,), "is not a CSV file"),
    ],
)
def test_what_is_no_file_of_corrections_is_refused(place, write, lines, said):
    with pytest.raises(DataError, match=said):
        relabel_images(write(*lines), workspace=place)


def test_a_file_that_is_not_there_is_told(place, tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read: No such file"):
        relabel_images(tmp_path / "nowhere.csv", workspace=place)


def test_a_file_without_end_is_not_read_to_its_end(place):
    with pytest.raises(DataError, match="larger than"):
        read_decisions("/dev/zero")


def test_an_image_that_was_never_read_cannot_be_corrected(place):
    manifest = place.load_snapshot()
    manifest.digest[0] = 0
    manifest.save(place.manifest_path("pets"))
    with pytest.raises(DataError, match=r"'a\.png' has not been read yet.\nRun tlx embed /pets"):
        relabel_images({"a.png": "dogs"}, workspace=place)


def test_an_image_without_label_has_none_to_keep(place, write):
    relabel_images({"a.png": None}, workspace=place, apply=True)
    with pytest.raises(DataError, match="has no label to keep"):
        relabel_images(write("path,action", "a.png,keep"), workspace=place)


def test_damaged_corrections_are_told_by_whatever_reads_labels(place):
    relabel_images({"a.png": "dogs"}, workspace=place, apply=True)
    place.corrections_path("pets").write_text("{")
    for read in (place.load_manifest, lambda: relabel_images({"a.png": "dogs"}, workspace=place)):
        with pytest.raises(FormatError, match="tlx relabel --undo"):
            read()


# Listing and undoing


def test_corrections_are_listed_and_those_not_in_effect_with_the_reason(place):
    relabel_images({"a.png": "dogs", " d.png": None}, workspace=place, apply=True)
    manifest = place.load_snapshot()
    manifest.digest[0] = 7
    manifest.save(place.manifest_path("pets"))
    found = list_corrections(place)
    assert found.changed == [Change(" d.png", "dogs", None)]
    assert found.stale == {"a.png": "another image is there now"}


def test_undo_brings_the_labels_of_the_folders_back_and_keeps_a_file(place):
    before = labels(place)
    relabel_images({"a.png": "dogs", " d.png": None}, workspace=place, apply=True)
    corrected = labels(place)
    done = undo_corrections(place)
    assert labels(place) == before
    assert Change("a.png", "dogs", "cats") in done.changed
    relabel_images(done.backup, workspace=place, apply=True)
    assert labels(place) == corrected


def test_undo_names_the_classes_that_are_gone_with_it(place):
    relabel_images({"a.png": "bats"}, workspace=place, new_classes="bats", apply=True)
    done = undo_corrections(place)
    assert done.new_classes == ("bats",)
    relabel_images(done.backup, workspace=place, new_classes=done.new_classes, apply=True)
    assert labels(place)["a.png"] == "bats"


def test_undo_twice_keeps_both_files(place):
    backups = set()
    for label in ("dogs", None):
        relabel_images({"a.png": label}, workspace=place, apply=True)
        backups.add(undo_corrections(place).backup)
    assert len(backups) == 2
    assert all(backup.exists() for backup in backups)


def test_undo_of_nothing_is_told(place):
    with pytest.raises(DataError, match="has no corrections of labels"):
        undo_corrections(place)


def test_undo_sets_a_damaged_file_aside_as_it_is(place):
    relabel_images({"a.png": "dogs"}, workspace=place, apply=True)
    place.corrections_path("pets").write_text("{ by hand")
    done = undo_corrections(place)
    assert done.backup.read_text() == "{ by hand"
    assert labels(place)["a.png"] == "cats"


def as_csv(decisions):
    text = io.StringIO()
    csv.writer(text).writerows([("path", "action", "label"), *decisions])
    return text.getvalue().encode("utf-8", "surrogateescape")


@settings(max_examples=8, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(PATHS),
        st.sampled_from([("relabel", "cats"), ("relabel", "dogs"), ("drop", ""), ("keep", "")]),
        min_size=1,
    )
)
def test_any_decisions_are_applied_undone_and_brought_back(tmp_path_factory, decided):
    folder = tmp_path_factory.mktemp("round")
    place = fill(Workspace(folder / ".tlx"), PATHS, ["cats"] * 4 + ["dogs"] * 2)
    before, file = labels(place), folder / "corrections.csv"
    file.write_bytes(as_csv([(path, *what) for path, what in decided.items()]))
    expected = before | {
        path: None if action == "drop" else label or before[path]
        for path, (action, label) in decided.items()
    }
    relabel_images(file, workspace=place, apply=True)
    assert labels(place) == expected
    assert relabel_images(file, workspace=place).changed == []
    entries = place.corrections("pets").by_path
    assert entries.keys() <= decided.keys()
    if entries:
        relabel_images(undo_corrections(place).backup, workspace=place, apply=True)
        again = place.corrections("pets").by_path
        assert {path: replace(one, time=0) for path, one in again.items()} == {
            path: replace(one, time=0) for path, one in entries.items()
        }
        undo_corrections(place)
    assert labels(place) == before


@settings(max_examples=80, deadline=None)
@given(st.binary() | st.text().map(lambda text: f"path,action\n{text}".encode()))
def test_no_file_whatsoever_is_more_than_an_error(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(data)
    with contextlib.suppress(DataError):
        assert read_decisions(file)


# What follows


@pytest.fixture
def embedded(tmp_path):
    """Return a workspace of 24 images with features, on which heads can be fitted."""
    place = Workspace(tmp_path / ".tlx")
    store_of(place.cache, range(24), spec=SPEC)
    names = [f"{n}.png" for n in range(24)]
    return fill(place, names, ["cats" if n % 2 else "dogs" for n in range(24)])


def test_heads_learn_from_the_corrected_labels_and_without_what_is_left_out(embedded):
    relabel_images({"0.png": "cats", "1.png": None}, workspace=embedded, apply=True)
    data = load_features(workspace=embedded)
    assert "1.png" not in data.paths
    assert data.class_names[data.y[data.paths.index("0.png")]] == "cats"


def test_runs_of_other_labels_are_not_compared_in_silence(embedded):
    fit_head("centroid", folds=2, workspace=embedded)
    relabel_images({"0.png": "cats"}, workspace=embedded, apply=True)
    fit_head("centroid", folds=2, workspace=embedded)
    (out,) = compare_heads(workspace=embedded).left_out
    assert (out.run.id, out.reason) == ("centroid-1", "1 images had other labels")


def test_a_conflict_is_gone_once_it_is_corrected(embedded):
    manifest = embedded.load_snapshot()
    manifest.digest[1] = manifest.digest[0]
    manifest.save(embedded.manifest_path("pets"))
    assert audit_run(only="conflict", workspace=embedded).findings
    relabel_images({"1.png": "dogs"}, workspace=embedded, apply=True)
    assert not audit_run(only="conflict", workspace=embedded).findings


def test_the_manifest_on_disk_stays_what_the_folders_say(embedded):
    before = embedded.manifest_path("pets").read_bytes()
    relabel_images({"0.png": "cats"}, workspace=embedded, apply=True)
    fit_head("centroid", folds=2, workspace=embedded)
    undo_corrections(embedded)
    assert embedded.manifest_path("pets").read_bytes() == before
    assert sorted(os.listdir(embedded.root / "corrections")) == ["pets-undone.csv"]


def test_corrections_are_a_file_that_others_can_read(place):
    relabel_images({"a.png": "dogs"}, workspace=place, apply=True)
    (entry,) = json.loads(place.corrections_path("pets").read_text())["corrections"]
    assert (entry["path"], entry["from"], entry["label"]) == ("a.png", "cats", "dogs")


def test_a_list_of_findings_is_no_file_of_corrections(place, tmp_path):
    path = tmp_path / "findings.csv"
    path.write_text("code,name,severity,path,label,suggested,score,other,title\n")
    with pytest.raises(DataError, match="lists what tlx audit found") as told:
        relabel_images(path, workspace=place.root)
    assert "tlx report" in told.value.remedy
