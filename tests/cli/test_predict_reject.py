"""``tlx predict --reject``: unknown below a confidence that promises an error."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from tlx.classify.decision import rejection
from tlx.classify.predict import predict_images
from tlx.classify.runs.best import load_run


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
    assert "predictions are 'unknown'" in done.stderr
    assert "with 95% confidence at most" in done.stderr
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
