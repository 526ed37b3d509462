"""Runs that tlx 0.1 wrote: a folder of its own files, and the probabilities it gave with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tlx.classify.compare import compare_heads
from tlx.classify.runs.best import load_run
from tlx.classify.runs.store import list_runs
from tlx.workspace import Workspace

DATA = Path(__file__).parent / "data"
FULL = ["dense-1", "knn-1", "logreg-1"]
FEW = "logreg-2"


@pytest.fixture
def before(tmp_path) -> Workspace:
    shutil.copytree(DATA / "workspace", tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


@pytest.mark.parametrize("run_id", [*FULL, FEW])
def test_they_predict_what_they_did(before, run_id):
    stored = np.load(DATA / "probabilities.npz")
    found = load_run(run_id, before.root).predict_proba(stored["X"])
    np.testing.assert_allclose(found, stored[run_id], atol=1e-6)


@pytest.mark.parametrize("run_id", [*FULL, FEW])
def test_their_predictions_are_read(before, run_id):
    run = load_run(run_id, before.root)
    found = run.predictions()
    assert found.probabilities.shape == (24, 3)
    if run_id != FEW:
        right = found.probabilities.argmax(1) == found.label
        assert right.mean() == pytest.approx(run.metrics["accuracy"].value)


def test_the_best_is_a_full_one_with_the_lowest_log_loss(before):
    runs = {run.id: run for run in list_runs(before)}
    assert set(runs) == {*FULL, FEW}
    best = min(FULL, key=lambda run_id: runs[run_id].metrics["log_loss"].value)
    assert load_run("best", before.root).id == best


def test_they_are_compared(before):
    found = compare_heads(FULL, workspace=before.root)
    assert {row.run.id for row in found.rows} == set(FULL)
