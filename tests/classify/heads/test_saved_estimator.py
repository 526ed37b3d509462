"""A scikit-learn classifier in a run: saved without pickle, read only with all types confirmed."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tlx.classify.compare import compare_heads
from tlx.classify.fit import fit_head
from tlx.classify.heads.external import EstimatorPredictor
from tlx.classify.heads.saved_estimator import (
    SavedEstimator,
    confirmed,
    keep_estimator,
    read_estimator,
)
from tlx.classify.runs.best import load_run
from tlx.errors import ArgumentError, DataError, FitError, FormatError, MissingExtraError

REASON = "the extra `skops` is not installed"
SVC_TYPE = "sklearn.svm._classes.SVC"
TREE_TYPES = ["sklearn.tree._classes.DecisionTreeClassifier", "sklearn.tree._tree.Tree"]


@pytest.fixture
def skops():
    return pytest.importorskip("skops.io", reason=REASON)


@pytest.fixture
def drawn(add_dataset, draw, place):
    """Return features and labels of 60 images that are a data set, and its workspace's root."""
    X, y = draw(60, 3)
    add_dataset("drawn", X, y)
    return X, y, place.root


class Hostile(SVC):
    """A classifier whose construction would be seen."""

    made: list[str] = []  # noqa: RUF012

    def __setstate__(self, state):
        Hostile.made.append("constructed")
        super().__setstate__(state)


# Without confirmation, or without skops


def test_names_of_types_are_texts():
    assert confirmed(["a.B", "c.D"]) == ("a.B", "c.D")
    for given in (True, [SVC], 3):
        with pytest.raises(ArgumentError, match=r"names no types"):
            confirmed(given)  # type: ignore[arg-type]


def test_without_skops_its_run_says_how_to_get_it(drawn, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    run = fit_head(SVC(), workspace=drawn[2])
    assert run.info.estimator == SavedEstimator(None, (0, 1, 2), 8)
    with pytest.raises(DataError, match=r"pip install 'tlx-vision\[skops\]'"):
        run.head()
    with pytest.raises(MissingExtraError, match=r"skops is not installed"):
        fit_head(SVC(), trusted=[SVC_TYPE], workspace=drawn[2])


def test_a_head_of_tlx_needs_no_trust(drawn):
    with pytest.raises(FitError, match="'lda' is saved without trusted="):
        fit_head("lda", trusted=["a.B"], workspace=drawn[2])


def test_the_run_says_which_types_to_confirm(drawn, skops):
    run = fit_head(DecisionTreeClassifier(), workspace=drawn[2])
    assert not run.can_predict
    assert f"predictions only: trusted={TREE_TYPES} saves it" in repr(run)
    with pytest.raises(DataError) as caught:
        load_run(run.id, drawn[2]).head()
    assert caught.value.remedy.endswith(f"tlx.fit_head(…, trusted={TREE_TYPES})")


def test_with_a_type_missing_the_run_keeps_its_predictions_and_warns(drawn, skops, caplog):
    run = fit_head(DecisionTreeClassifier(), trusted=TREE_TYPES[:1], workspace=drawn[2])
    assert set(run.info.parts) == {"predictions.h5"}
    assert f"run {run.id} keeps its predictions alone" in caplog.text
    assert str(TREE_TYPES) in caplog.text


def test_what_cannot_be_saved_without_pickle_is_said(skops):
    tree = DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])
    tree.generator_ = (i for i in range(3))  # type: ignore[attr-defined]
    saved, parts = keep_estimator(EstimatorPredictor(tree, np.arange(2), 1, 2), TREE_TYPES)
    assert (saved.types, parts) == ((), {})


# Saved and read again


@pytest.mark.parametrize(
    "estimator",
    [
        SVC(),
        LinearSVC(),
        RandomForestClassifier(5, random_state=0),
        make_pipeline(StandardScaler(), LinearSVC()),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_what_is_read_predicts_what_was_fitted(estimator, drawn, skops):
    X, y, root = drawn
    types = fit_head(estimator, workspace=root, name="ask").info.estimator.types
    run = fit_head(estimator, workspace=root, name="kept", trusted=types)
    again = load_run("kept", root, trusted=types)
    assert again.info.estimator.types == types
    assert set(again.info.parts) == {"head.skops", "neighbours.h5", "predictions.h5"}
    p = again.predict_proba(X)
    np.testing.assert_array_equal(p, run.predict_proba(X))
    assert (p.argmax(axis=1) == y).mean() > 0.6
    plain = estimator.fit(X, y)
    assert (plain.predict(X) == p.argmax(axis=1)).mean() > 0.95
    assert again.info.temperature != 1
    assert repr(again) == repr(run)
    assert "predictions only" not in repr(run)


def test_a_class_that_was_missing_stays_missing(tmp_path, draw, skops):
    X, y = draw(60, 3)
    fitted = SVC().fit(X[y != 1], (y[y != 1] > 0).astype(int))
    predictor = EstimatorPredictor(fitted, np.array([0, 2]), 8, 3)
    saved, parts = keep_estimator(predictor, [SVC_TYPE])
    (tmp_path / "head.skops").write_bytes(parts["head.skops"])
    again = read_estimator(
        "r", tmp_path / "head.skops", (tmp_path / "head.skops").read_bytes(), saved, 3, [SVC_TYPE]
    )
    np.testing.assert_array_equal(again.predict_proba(X), predictor.predict_proba(X))
    assert (again.predict_proba(X)[:, 1] == 0).all()


def test_it_is_compared_without_being_read(drawn, skops):
    run = fit_head(SVC(), trusted=[SVC_TYPE], workspace=drawn[2])
    Path(run.folder / "head.skops").unlink()
    assert [row.run.id for row in compare_heads(workspace=drawn[2]).rows] == [run.id]


def test_it_is_never_the_best(drawn, skops):
    fit_head(SVC(), trusted=[SVC_TYPE], workspace=drawn[2])
    with pytest.raises(DataError, match="can be used for this"):
        load_run("best", drawn[2], trusted=[SVC_TYPE])
    ours = fit_head("centroid", workspace=drawn[2])
    assert load_run("best", drawn[2]).id == ours.id


# From elsewhere


@pytest.fixture
def kept(drawn, skops):
    """Return a run that keeps a classifier."""
    return fit_head(SVC(), trusted=[SVC_TYPE], workspace=drawn[2], name="kept")


def reader(run, trusted=(SVC_TYPE,), **changed):
    """Read the head of a run whose ``run.json`` may say something else of it."""
    saved = SavedEstimator(**{"types": (SVC_TYPE,), "seen": (0, 1, 2), "n_features": 8, **changed})
    return read_estimator(
        "kept",
        run.folder / "head.skops",
        (run.folder / "head.skops").read_bytes(),
        saved,
        3,
        trusted,
    )


def test_reading_asks_again_and_names_what_to_type(kept, drawn):
    with pytest.raises(
        FormatError, match=rf"types that were not confirmed: {SVC_TYPE}\."
    ) as caught:
        load_run("kept", drawn[2]).head()
    assert f"tlx.load_run('kept', trusted=['{SVC_TYPE}'])" in caught.value.remedy
    assert f"--trust {SVC_TYPE}" in caught.value.remedy


def test_nothing_is_constructed_before_its_type_was_confirmed(kept, skops):
    estimator = Hostile().fit(np.arange(24.0).reshape(3, 8), [0, 1, 2])
    (kept.folder / "head.skops").write_bytes(skops.dumps(estimator))
    Hostile.made.clear()
    with pytest.raises(FormatError, match=r"not confirmed: .*\.Hostile\."):
        reader(kept, types=(f"{Hostile.__module__}.Hostile",))  # what run.json says counts nothing
    assert Hostile.made == []


def test_a_type_hidden_inside_is_named(kept, skops):
    tree = DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1])
    estimator = SVC().fit(np.arange(24.0).reshape(3, 8), [0, 1, 2])
    estimator.extra_ = tree
    (kept.folder / "head.skops").write_bytes(skops.dumps(estimator))
    with pytest.raises(FormatError, match=r"not confirmed: sklearn\.tree\._tree\.Tree\."):
        reader(kept)


def edited(data: bytes, change, compression=zipfile.ZIP_STORED) -> bytes:
    """Return a copy of an archive whose schema was changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "schema.json":
                content = change(json.loads(content))
            new.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda schema: b"{}",
        lambda schema: b"[" * 100_000,
        lambda schema: json.dumps({**schema, "__loader__": "NoNode"}).encode(),
        lambda schema: json.dumps({**schema, "content": 3}).encode(),
        lambda schema: json.dumps({**schema, "content": None}).encode(),
    ],
)
def test_a_hostile_schema_is_refused(kept, change):
    path = kept.folder / "head.skops"
    path.write_bytes(edited(path.read_bytes(), change))
    with pytest.raises(FormatError, match=r"head\.skops is no head"):
        reader(kept)


def test_a_function_in_place_of_the_classifier_is_refused_by_name(kept):
    path = kept.folder / "head.skops"
    evil = {"__module__": "os", "__class__": "system", "__loader__": "FunctionNode"}
    change = {**evil, "__id__": 1, "content": {"module_path": "os", "function": "system"}}
    path.write_bytes(edited(path.read_bytes(), lambda s: json.dumps({**s, **change}).encode()))
    with pytest.raises(FormatError, match=r"not confirmed: os\.system"):
        reader(kept)


def test_a_bomb_is_refused(kept):
    path = kept.folder / "head.skops"
    data = edited(path.read_bytes(), lambda schema: b" " * 50_000_000, zipfile.ZIP_DEFLATED)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"head\.skops claims 50,\d+,\d+ bytes in a file of"):
        reader(kept)


def test_a_file_that_is_cut_short_is_refused(kept):
    path = kept.folder / "head.skops"
    whole = path.read_bytes()
    for end in range(0, len(whole), 1999):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError, match=r"head\.skops is no head"):
            reader(kept)


@pytest.mark.parametrize(
    "changed", [{"n_features": 9}, {"seen": (0, 1, 3)}, {"seen": (0, 1)}, {"seen": (0, 1, 1)}]
)
def test_a_run_that_tells_other_sizes_is_refused(kept, changed):
    with pytest.raises(FormatError, match=r"head\.skops"):
        reader(kept, **changed)


def test_another_file_than_was_saved_is_refused(kept, drawn):
    (kept.folder / "head.skops").write_bytes(b"another")
    with pytest.raises(FormatError, match="is not what the run was saved with"):
        load_run("kept", drawn[2], trusted=[SVC_TYPE])


@pytest.mark.parametrize(
    "said", [3, {"types": "a"}, {"types": [], "seen": [0], "n_features": 2**40}, {"types": []}]
)
def test_a_run_json_of_wrong_types_is_refused(kept, drawn, said):
    path = kept.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "estimator": said}))
    with pytest.raises(FormatError, match="an object of types, seen and n_features"):
        load_run("kept", drawn[2])


def test_it_is_not_taken_for_the_nearest_neighbours_of_before(kept, drawn):
    """Without what run.json says of it, the file is read by the reader that knows one type."""
    path = kept.folder / "run.json"
    info = json.loads(path.read_text())
    del info["estimator"]
    path.write_text(json.dumps(info))
    with pytest.raises(FormatError, match=r"holds a type that is not trusted: sklearn\.svm"):
        load_run("kept", drawn[2], trusted=[SVC_TYPE]).head()


def test_to_read_it_takes_skops(kept, drawn, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tlx-vision\[skops\]'"):
        load_run("kept", drawn[2], trusted=[SVC_TYPE]).head()
