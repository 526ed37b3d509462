"""A run as an object: its time, what it was made from, and what it shows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.runs.run import RunInfo, read_run, scored_id, trained_id


@pytest.fixture
def run(add_dataset, draw, place):
    add_dataset("drawn", *draw(40, 2))
    return fit_head("centroid", workspace=place.root)


def info_of(run) -> dict:
    return json.loads((run.folder / "run.json").read_text())


def test_what_is_written_is_read_again(run):
    assert read_run(run.folder).info == run.info
    assert RunInfo.from_json(info_of(run)).to_json() == info_of(run)


def test_keys_of_a_later_tlx_do_no_harm(run):
    (run.folder / "run.json").write_text(json.dumps({**info_of(run), "weather": ["sun"]}))
    assert read_run(run.folder).info == run.info


def test_metrics_are_objects(run):
    accuracy = run.metrics["accuracy"]
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert str(accuracy).startswith(f"{accuracy.value:.4f} (")


def test_a_repr_is_one_short_line(run):
    assert repr(run).startswith("<Run 'centroid-1': centroid on 'drawn', accuracy 0.")
    assert repr(run.predictions()) == "<Predictions: 40 images, 2 classes>"
    assert len(repr(run)) < 200


def test_a_run_of_before_has_its_calibration_errors_under_their_new_names(run):
    info = info_of(run)
    metrics = info["metrics"]
    old = {**metrics, "ece": metrics["ece_raw"], "ece_calibrated": metrics["ece"]}
    del old["ece_raw"]
    (run.folder / "run.json").write_text(json.dumps({**info, "version": 1, "metrics": old}))
    assert read_run(run.folder).metrics == run.metrics


def test_each_run_is_later_than_all_before_whatever_the_clock_says(run, place):
    future = "2999-01-01T00:00:00+00:00"
    (run.folder / "run.json").write_text(json.dumps({**info_of(run), "created": future}))
    times = [fit_head("centroid", workspace=place.root).info.created for _ in range(5)]
    assert times == sorted(set(times))
    assert times[0] > future


@pytest.mark.parametrize("created", ["2024-05-01T10:00:00+00:00", "2024-05-01T10:00:00", "spring"])
def test_times_of_before_are_read(run, created):
    (run.folder / "run.json").write_text(json.dumps({**info_of(run), "created": created}))
    assert read_run(run.folder).info.time < run.info.time


def test_ids_of_images_do_not_depend_on_their_order():
    rng = np.random.default_rng(0)
    digest = rng.integers(0, 256, (20, 32), np.uint8)
    label = np.arange(20) % 3
    order = rng.permutation(20)
    assert scored_id(digest, label) == scored_id(digest[order], label[order])
    assert scored_id(digest, label) != scored_id(digest, label[order])
    assert trained_id(digest) == trained_id(np.vstack([digest[order], digest[:3]]))
    assert trained_id(digest) != trained_id(digest[1:])


def test_the_ids_in_the_file_are_those_of_the_predictions(run):
    again = run.predictions()
    assert (run.info.scored_id, run.info.trained_id) == (again.scored_id, again.trained_id)
