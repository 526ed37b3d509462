"""What fewer digits cost is judged on held-out images, paired."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tlx.deploy import export as module
from tlx.deploy.export import ParityError, export_run
from tlx.deploy.formats.keras import FORMAT
from tlx.deploy.parity import Reference
from tlx.deploy.precision import (
    AccuracyChange,
    HeldOut,
    accuracy_change,
    calibration_pixels,
    held_out,
)
from tlx.errors import DataError, TlxError
from tlx.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def one_hot(label: np.ndarray) -> np.ndarray:
    return np.eye(2)[label]


def changed(wrong: int, n: int = 400) -> AccuracyChange:
    """Return the change of a network that is wrong in so many of n images, its run in none."""
    y = np.arange(n) % 2
    files = [str(i) for i in range(n)]
    held = HeldOut(files, y, np.arange(n))
    found = np.where(np.arange(n) < wrong, 1 - y, y)
    return accuracy_change(held, Reference(files, np.zeros((n, 1)), one_hot(y)), one_hot(found))


def test_a_loss_within_chance_is_good_and_a_larger_one_is_not():
    assert changed(0).value == 0
    assert changed(0).good
    assert changed(5).good  # 1.25 points, whose interval has 1 point
    assert not changed(40).good
    assert changed(40).high < -0.01 < changed(5).high


def test_images_that_could_not_be_read_are_left_out():
    held = HeldOut(["a", "b", "c"], np.array([0, 1, 1]), np.arange(3))
    expected = Reference(["a", "c"], np.zeros((2, 1)), one_hot(np.array([0, 1])))
    change = accuracy_change(held, expected, one_hot(np.array([0, 0])))
    assert (change.images, change.value) == (2, -0.5)


def test_held_out_images_have_their_labels(make_run, leaving):
    held = held_out(make_run("logreg"), Workspace(leaving))
    assert len(held.files) == 60
    names = np.array(["ant", "bee", "cat"])[held.label]
    assert [Path(file).parent.name for file in held.files] == names.tolist()


def test_calibration_has_the_ends_of_the_range(make_run, leaving):
    pixels = calibration_pixels(make_run("logreg"), Workspace(leaving))
    assert pixels.shape == (60, 16, 16, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_images_that_are_gone_are_told(make_run, leaving, tmp_path, monkeypatch):
    run, place = make_run("logreg"), Workspace(leaving)
    manifest = place.load_snapshot()
    manifest.root = str(tmp_path)
    monkeypatch.setattr(place, "load_snapshot", lambda name: manifest)
    for needed in (held_out, calibration_pixels):
        with pytest.raises(DataError, match="is there any more"):
            needed(run, place)


@pytest.fixture
def rough(monkeypatch, make_run):
    """Let a format in float16 call every image an ant."""

    def write(network, path, order):
        path.write_bytes(b"network")

    kind = dataclasses.replace(FORMAT, write=write, precisions=("float32", "float16"))
    monkeypatch.setattr(module, "get_format", lambda name: kind)
    monkeypatch.setattr(
        module, "probabilities_apart", lambda folder, files: np.tile([1.0, 0, 0], (len(files), 1))
    )
    return make_run("logreg")


def test_what_loses_too_much_is_not_left_behind_unless_accepted(rough, leaving, tmp_path):
    options = {"precision": "float16", "workspace": leaving}
    with pytest.raises(ParityError, match=r"(?s)loses .* points .*--accept-loss"):
        export_run(rough, "keras", tmp_path / "out", **options)
    assert not [*tmp_path.iterdir()]
    done = export_run(rough, "keras", tmp_path / "out", accept_loss=True, **options)
    assert done.predictor.precision == "float16"
    assert done.predictor.parity["accuracy"]["value"] < -0.2
    assert not done.predictor.parity["labels_equal"]


def test_a_folder_without_labels_is_refused(rough, leaving, photos):
    with pytest.raises(DataError, match="Leave out --check"):
        export_run(rough, "keras", precision="float16", check=photos, workspace=leaving)


def test_a_precision_that_a_format_does_not_have_is_refused(make_run):
    with pytest.raises(TlxError, match="It has float32"):
        export_run(make_run("logreg"), "keras", precision="int8")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "int8"])
@pytest.mark.parametrize("name", ["openvino", "litert"])
def test_both_formats_keep_the_accuracy(name, precision, make_run, leaving, tmp_path):
    pytest.importorskip({"openvino": "nncf", "litert": "ai_edge_litert"}[name])
    run = make_run("logreg")
    exact = export_run(run, name, tmp_path / "exact", workspace=leaving)
    done = export_run(run, name, tmp_path / "out", workspace=leaving, precision=precision)
    assert done.parity.accuracy["value"] > -0.05
    assert done.bytes != exact.bytes
