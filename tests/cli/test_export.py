"""``tlx export`` in a real process: what it says, and how it fails."""

from __future__ import annotations

import json

import pytest

from tlx.deploy.predictor import read_predictor


@pytest.fixture
def workspace(tmp_path, class_folders, make_grid):
    """Return a workspace with a run whose backbone is nowhere."""
    import tlx

    class_folders(tmp_path / "photos", {"ant": 8, "bee": 8})

    class Many(make_grid):
        output_shape = (1280,)

        def __call__(self, batch):
            import numpy as np

            return np.tile(super().__call__(batch), 27)[:, :1280]

    tlx.embed_images(tmp_path / "photos", workspace=tmp_path / ".tlx", engine=Many())
    tlx.fit_head("logreg", workspace=tmp_path / ".tlx")
    return tmp_path


def test_a_path_that_exists_is_refused_before_any_work(tlx, workspace):
    (workspace / "out").mkdir()
    told = tlx("export", "best", "--format", "keras", "--output", "out", "--json", code=1)
    error = json.loads(told.stdout)["error"]
    assert error == {
        "cause": "out is there already.",
        "remedy": "Name another --output, or add --force.",
    }


def test_an_unknown_format_names_the_nearest(tlx, workspace):
    told = tlx("export", "best", "--format", "onxx", code=1)
    assert "Did you mean onnx?" in told.stderr


@pytest.mark.slow
def test_one_object_of_the_keys_that_are_promised(tlx, workspace):
    told = json.loads(tlx("export", "best", "--format", "keras", "--json").stdout)
    assert set(told) == {"run", "format", "precision", "path", "bytes", "predictor", "parity"}
    assert set(told["parity"]) == {"images", "largest_difference", "labels_equal"}
    assert told["path"] == "logreg-1-keras/model.keras"
    assert told["parity"]["images"] == 16
    assert read_predictor(workspace / told["predictor"]).run == "logreg-1"
