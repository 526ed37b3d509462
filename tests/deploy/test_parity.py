"""The gate: what is compared, on what, and where a difference begins."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tlx.deploy.formats.format import Order
from tlx.deploy.formats.keras import FORMAT
from tlx.deploy.network import run_network
from tlx.deploy.parity import (
    Parity,
    check_images,
    compare,
    probabilities_apart,
    reference,
    where_it_begins,
)
from tlx.errors import DataError, TlxError
from tlx.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
P = np.array([[0.7, 0.3], [0.2, 0.8]])


def test_equal_probabilities_are_good():
    assert compare(P, P) == Parity(images=2, largest_difference=0.0, labels_equal=True)
    assert compare(P, P).good


def test_a_small_difference_is_good_and_a_large_one_is_not():
    assert compare(P, P + np.array([1e-5, -1e-5])).good
    assert not compare(P, P + np.array([1e-3, -1e-3])).good


def test_another_label_is_not_good_unless_the_two_are_tied():
    sure, tied = np.array([[0.50003, 0.49997]]), np.array([[0.5 + 1e-8, 0.5 - 1e-8]])
    assert not compare(sure, sure[:, ::-1]).labels_equal
    assert compare(tied, tied[:, ::-1]).good


def test_what_is_no_number_is_not_good():
    assert not compare(P, np.full_like(P, np.nan)).good


def test_images_are_spread_over_the_data_set(make_run, leaving):
    files = check_images(make_run("logreg"), Workspace(leaving), most=6)
    assert len(files) == 6
    assert {file.split("/")[-2] for file in files} == {"ant", "bee", "cat"}


def test_a_folder_takes_their_place(make_run, leaving, photos):
    files = check_images(make_run("logreg"), Workspace(leaving), photos / "bee")
    assert len(files) == 20
    assert all("/bee/" in file for file in files)


def test_no_images_say_what_to_type(make_run, leaving, tmp_path):
    run = make_run("logreg")
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(DataError, match="no images to check with"):
            check_images(run, Workspace(leaving), folder)
    with pytest.raises(DataError, match="--check FOLDER"):
        check_images(run, Workspace(tmp_path / ".tlx"))


def test_images_that_cannot_be_read_are_left_out(make_run, photos, tmp_path):
    good = str(photos / "ant" / "0000.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    found = reference(make_run("logreg"), [str(tmp_path / "bad.png"), good])
    assert found.files == [good]
    assert found.probabilities.shape == (1, 3)
    with pytest.raises(DataError, match="can be read"):
        reference(make_run("logreg"), [str(tmp_path / "bad.png")])


@pytest.mark.parametrize(
    ("features", "where"), [(lambda f: f, "in the head"), (lambda f: f + 1.0, "in the features")]
)
def test_it_is_said_where_a_difference_begins(features, where, make_run, photos):
    run = make_run("logreg")
    network = run_network(run)
    expected = reference(run, [str(photos / "ant" / "0000.png")])
    opened = dataclasses.replace(
        FORMAT, open=lambda path: lambda pixels: features(FORMAT.open(path)(pixels))
    )
    note = {"class_names": run.class_names, "fit": "squash", "interpolation": "bilinear"}
    assert where in where_it_begins(opened, network, expected, Order(note))


def test_features_that_are_not_those_of_the_run_are_told(make_run, photos):
    run = make_run("logreg")
    expected = reference(run, [str(photos / "ant" / "0000.png")])
    other = dataclasses.replace(expected, features=expected.features + 1)
    note = {"class_names": run.class_names, "fit": "squash", "interpolation": "bilinear"}
    told = where_it_begins(FORMAT, run_network(run), other, Order(note))
    assert "Keras itself gives other features" in told


def test_a_file_that_ends_its_process_is_told(photos, tmp_path):
    with pytest.raises(TlxError, match=r"the written file cannot be used: .*predictor\.json"):
        probabilities_apart(tmp_path, [str(photos / "ant" / "0000.png")])
