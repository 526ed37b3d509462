"""``tlx predict --reject``: unknown below a confidence that promises an error."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from tlx.classify.decision import rejection
from tlx.classify.opened import Prediction
from tlx.classify.predict import predict_images
from tlx.classify.runs.best import load_run
from tlx.classify.scoring.calibrate import Rejection
from tlx.classify.strangers import Neighbours
from tlx.cli.predict import as_text, not_looked_text, rejection_text, strangers_text, to_csv

CHOSEN = Rejection(0.05, 0.8, 0.9, 0.01, 0.04, 360, strangers=0.01)
FOUND = [
    Prediction("ant.jpg", "unknown", 0.99, {"cat": 0.01, "dog": 0.99}, stranger=0.0025),
    Prediction("fog.jpg", "unknown", 0.6, {"cat": 0.4, "dog": 0.6}, stranger=0.3),
    Prediction("dog.jpg", "dog", 0.9, {"cat": 0.1, "dog": 0.9}, stranger=0.5),
]
FAILED = Prediction("gone.jpg", error="no such file or directory")


def test_images_below_the_threshold_are_unknown(shared_project) -> None:
    run = load_run("best", shared_project / ".tlx")
    chosen = rejection(run, 0.4)
    data, work = shared_project / "data", shared_project / ".tlx"
    found = predict_images(run, [data], workspace=work, reject=0.4)
    plain = predict_images(run, [data], workspace=work)
    sure = np.array([row.confidence or 0 for row in found]) >= chosen.threshold
    labels = [row.label for row in found]
    expected = [row.label if s else "unknown" for row, s in zip(plain, sure, strict=True)]
    assert labels == expected
    assert [row.probabilities for row in found] == [row.probabilities for row in plain]


def test_the_command_says_coverage_and_promise(shared_project, run_tlx, tmp_path: Path) -> None:
    output = tmp_path / "labels.csv"
    done = run_tlx(
        "predict", "best", "data", "--reject", 0.4, "--json", "--output", output, cwd=shared_project
    )
    found = json.loads(done.stdout)["reject"]
    assert found["error"] == 0.4
    assert found["bound"] <= 0.4
    assert "No prediction is 'unknown'" in done.stderr
    assert "with 95% confidence at most" in " ".join(done.stderr.split())
    with output.open() as file:
        assert len(list(csv.DictReader(file))) == 37


def test_an_error_out_of_reach_is_told(shared_project, run_tlx) -> None:
    told = run_tlx("predict", "best", "data", "--reject", 0.001, cwd=shared_project, code=1).stderr
    assert "no confidence promises an error of at most 0.001: with 37 scored images" in told


def test_not_together_with_augmented_views(shared_project, run_tlx) -> None:
    told = run_tlx(
        "predict", "best", "data", "--reject", 0.4, "--tta", 2, cwd=shared_project, code=1
    ).stderr
    assert "Leave out --tta or --reject, or measure it: tlx fit-head --tta 2" in told


def test_strangers_are_told_apart_from_what_is_unsure() -> None:
    ant, fog, dog = as_text(FOUND, CHOSEN).splitlines()[1:]
    assert "unknown: like nothing it learned from" in ant
    assert fog.split() == ["fog.jpg", "unknown", "0.600"]
    assert dog.split() == ["dog.jpg", "dog", "0.900"]
    told = " ".join(rejection_text(CHOSEN, FOUND).split())
    assert told.startswith(
        "2 of 3 predictions are 'unknown': 1 is like nothing the run learned from, the confidence "
        "of 1 is below 0.800."
    )
    assert told.endswith("Of images like those, 1.0% are taken for strangers.")
    assert "1 of 1 predictions are 'unknown': they are like nothing" in rejection_text(
        CHOSEN, FOUND[:1]
    )
    told = " ".join(rejection_text(CHOSEN, [FOUND[2], FAILED]).split())
    assert told.startswith("No prediction is 'unknown': no confidence is below 0.800. Of the")
    assert "1 of 1 predictions" in rejection_text(CHOSEN, [FOUND[0], FAILED]), "not of two"


def test_the_csv_has_the_p_values_of_a_rejection() -> None:
    rows = list(csv.DictReader(to_csv(FOUND, ("cat", "dog"), strangers=True).splitlines()))
    assert [row["stranger"] for row in rows] == ["0.0025", "0.3", "0.5"]
    assert "stranger" not in to_csv(FOUND, ("cat", "dog")).splitlines()[0]


def test_many_strangers_are_named_without_a_rejection() -> None:
    kept = Neighbours(np.zeros((1, 2), np.float16), np.ones(399, np.float32))
    told = strangers_text(kept, FOUND)
    assert told.startswith("1 of 3 images is like nothing this run learned from: --reject 0.05")
    assert strangers_text(kept, FOUND[1:]) == ""
    usual = [FOUND[2]] * 399 + [FOUND[0]] * 8  # chance brings four, and now and then eight
    assert strangers_text(kept, usual) == ""


def test_a_run_of_before_says_that_it_tells_no_strangers(shared_project) -> None:
    run = load_run("best", shared_project / ".tlx")
    assert "does not tell images of something else: an older tlx" in not_looked_text(run)
