"""A run as an object: its time, what it was made from, and what it shows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.runs.run import RunInfo, read_run


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


def test_what_fits_a_run_again_is_taken_from_its_checked_settings_alone(run):
    info = info_of(run)
    (run.folder / "run.json").write_text(json.dumps({**info, "recipe": "as grandmother did"}))
    assert read_run(run.folder).info.recipe == run.info.recipe
    del info["settings"]
    (run.folder / "run.json").write_text(json.dumps({**info, "recipe": "as grandmother did"}))
    assert read_run(run.folder).info.recipe is None


def test_metrics_are_objects(run):
    accuracy = run.metrics["accuracy"]
    assert accuracy.low <= accuracy.value <= accuracy.high
    assert str(accuracy).startswith(f"{accuracy.value:.4f} (")


def test_each_class_has_its_figures(run):
    reports = run.per_class()
    assert [report.name for report in reports] == list(run.class_names)
    assert sum(report.n for report in reports) == 40
    confusion = np.array(run.info.confusion)
    for c, report in enumerate(reports):
        assert report.recall.value == pytest.approx(confusion[c, c] / confusion[c].sum())
        assert report.f1.low <= report.f1.value <= report.f1.high


def test_a_repr_is_one_short_line(run):
    assert repr(run).startswith("<Run 'centroid-1': centroid on 'drawn', accuracy 0.")
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


@pytest.mark.parametrize("zone", ["", "+00:00", "+02:00", "-02:00"])
def test_a_run_from_the_last_moment_of_all_is_no_hindrance_to_others(run, place, zone):
    created = f"9999-12-31T23:59:59.999999{zone}"
    (run.folder / "run.json").write_text(json.dumps({**info_of(run), "created": created}))
    assert fit_head("centroid", workspace=place.root).id == "centroid-2"


@pytest.mark.parametrize("created", ["2024-05-01T10:00:00+00:00", "2024-05-01T10:00:00", "spring"])
def test_times_of_before_are_read(run, created):
    (run.folder / "run.json").write_text(json.dumps({**info_of(run), "created": created}))
    assert read_run(run.folder).info.time < run.info.time
