"""A run leaves whole and proven, or not at all."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tlx.deploy import export as module
from tlx.deploy.export import ParityError, export_run
from tlx.deploy.formats.keras import FORMAT
from tlx.deploy.parity import check_images
from tlx.deploy.predictor import NAME, digest_of, read_predictor
from tlx.errors import DataError, MissingExtraError, TlxError, UnknownNameError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def run(make_run):
    return make_run("logreg")


@pytest.fixture
def light(monkeypatch, run):
    """Let the format be one whose file is its name; what it says apart is told by the test."""
    told: dict = {}

    def write(network, path, order):
        path.write_bytes(b"network")

    kind = dataclasses.replace(FORMAT, write=write)
    monkeypatch.setattr(module, "get_format", lambda name: kind)

    def apart(folder, files):
        found = module.reference(run, files).probabilities
        return told.get("change", lambda p: p)(found)

    monkeypatch.setattr(module, "probabilities_apart", apart)
    monkeypatch.setattr(module, "where_it_begins", lambda *args: "it begins somewhere")
    return told


@pytest.mark.slow
def test_a_keras_file_is_compared_in_a_fresh_process(run, leaving, tmp_path):
    done = export_run(run, "keras", tmp_path / "out", workspace=leaving)
    assert done.path == tmp_path / "out" / "model.keras"
    assert done.parity.images == 60
    assert done.parity.good
    assert done.bytes == done.path.stat().st_size
    assert read_predictor(done.predictor_path) == done.predictor
    assert done.predictor.sha256 == digest_of(tmp_path / "out", ["model.keras"])
    assert done.predictor.class_names == ("ant", "bee", "cat")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_what_differs_is_not_left_behind(run, leaving, light, tmp_path):
    light["change"] = lambda p: p + np.array([1e-3, -1e-3, 0])
    with pytest.raises(ParityError, match=r"by 1\.0e-03 .*it begins somewhere\. Nothing was kept"):
        export_run(run, "keras", tmp_path / "out", workspace=leaving)
    assert not [*tmp_path.iterdir()]


def test_another_label_is_not_left_behind(run, leaving, light, tmp_path):
    light["change"] = lambda p: p[:, ::-1]
    with pytest.raises(ParityError, match="labels differ"):
        export_run(run, "keras", tmp_path / "out", workspace=leaving)
    assert not [*tmp_path.iterdir()]


def test_a_failed_one_leaves_the_old_one(run, leaving, light, tmp_path):
    export_run(run, "keras", tmp_path / "out", workspace=leaving)
    old = (tmp_path / "out" / NAME).read_bytes()
    light["change"] = lambda p: np.full_like(p, np.nan)
    with pytest.raises(ParityError):
        export_run(run, "keras", tmp_path / "out", workspace=leaving, overwrite=True)
    assert (tmp_path / "out" / NAME).read_bytes() == old


def test_an_export_is_replaced_only_if_asked(run, leaving, light, tmp_path):
    export_run(run, "keras", tmp_path / "out", workspace=leaving)
    with pytest.raises(DataError, match=r"out is there already\.\n.*--force"):
        export_run(run, "keras", tmp_path / "out", workspace=leaving)
    export_run(run, "keras", tmp_path / "out", workspace=leaving, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_folder_with_other_files_is_never_replaced(run, leaving, light, tmp_path):
    export_run(run, "keras", tmp_path / "out", workspace=leaving)
    (tmp_path / "out" / "thesis.txt").write_text("all of it")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"mine")
    for folder in ("out", "photos"):
        with pytest.raises(DataError, match="is not replaced"):
            export_run(run, "keras", tmp_path / folder, workspace=leaving, overwrite=True)
    assert (tmp_path / "out" / "thesis.txt").exists()


def test_a_file_may_be_named(run, leaving, light, tmp_path):
    (tmp_path / "other.txt").write_text("mine")
    done = export_run(run, "keras", tmp_path / "bees.keras", workspace=leaving)
    assert done.path == tmp_path / "bees.keras"
    assert read_predictor(tmp_path / NAME).file == "bees.keras"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["bees.keras", "other.txt", NAME]
    with pytest.raises(DataError, match=r"bees\.keras is there already"):
        export_run(run, "keras", tmp_path / "bees.keras", workspace=leaving)
    export_run(run, "keras", tmp_path / "bees.keras", workspace=leaving, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_what_a_converter_raises_is_told_in_a_line(run, leaving, light, monkeypatch, tmp_path):
    def write(network, path, order):
        path.write_bytes(b"half")
        raise KeyError("no such\noperation")

    kind = dataclasses.replace(FORMAT, write=write)
    monkeypatch.setattr(module, "get_format", lambda name: kind)
    with pytest.raises(TlxError, match="cannot be written as keras: 'no such"):
        export_run(run, "keras", tmp_path / "out", workspace=leaving)
    assert not [*tmp_path.iterdir()]


def test_a_missing_package_is_told_before_any_work(run, monkeypatch, tmp_path):
    kind = dataclasses.replace(FORMAT, modules=("no_such_module",))
    monkeypatch.setattr(module, "get_format", lambda name: kind)
    with pytest.raises(MissingExtraError, match=r"tlx-vision\[export\]"):
        export_run("no run", "keras", tmp_path / "out")


def test_a_format_that_there_is_not_is_told_before_any_work():
    with pytest.raises(UnknownNameError, match="unknown format"):
        export_run("no run", "torchscript")


def test_a_runtime_for_a_format_that_takes_none_is_refused():
    with pytest.raises(DataError, match="takes no runtime"):
        export_run("no run", "keras", runtime="node_modules")


def test_a_folder_of_photos_is_compared_on(run, leaving, light, photos, tmp_path):
    done = export_run(run, "keras", tmp_path / "out", workspace=leaving, check=photos / "bee")
    assert done.parity.images == 20


def test_thresholds_are_those_of_all_scored_images(run, leaving, light, tmp_path):
    done = export_run(run, "keras", tmp_path / "out", workspace=leaving)
    errors = [row["error"] for row in done.predictor.rejection]
    assert errors == sorted(errors)
    assert all(row["strangers"] is None for row in done.predictor.rejection)
    assert done.predictor.accuracy["value"] == run.metrics["accuracy"].value


def test_the_images_are_real_ones(run, leaving):
    assert len(check_images(run, module.Workspace(leaving))) == 60
