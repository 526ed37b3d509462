"""Heads and curves by the workers of a cluster are those of one process, to the last bit."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tlx.classify.curve import learning_curve
from tlx.classify.fit import fit_heads
from tlx.classify.spread import check_workspace
from tlx.errors import DataError, FitError

sys.path.insert(0, str(Path(__file__).parent.parent / "embed"))

from cluster_helpers import Here


@pytest.fixture
def here(monkeypatch):
    """Let this process be the cluster, so that what is compared has the same number of threads."""
    pool = Here()
    monkeypatch.setattr("tlx.embed.cluster.find_cluster", lambda address: lambda: pool)
    return pool


@pytest.fixture
def drawn(add_dataset, draw):
    return add_dataset("drawn", *draw(60, 3)).root


MODELS = ["logreg", "lda", "centroid"]


def test_each_head_is_that_of_one_process(drawn, here):
    serial = fit_heads(MODELS, workspace=drawn, name="serial")
    told = []
    shared = fit_heads(
        MODELS,
        workspace=drawn,
        name="shared",
        cluster="processes:2",
        progress=lambda done, total: told.append(done / total),
    )
    assert here.closed
    assert told == sorted(told)
    assert told[-1] == 1
    by_model = {run.info.model: run for run in shared.runs}
    for run in serial.runs:
        other = by_model[run.info.model]
        assert np.array_equal(run.predictions().probabilities, other.predictions().probabilities)
        assert (run.metrics, run.info.params) == (other.metrics, other.info.params)


def test_one_that_fails_does_not_stop_the_others(drawn, here, monkeypatch):
    import tlx.classify.spread as spread

    real = spread.evaluate_head

    def fail(table, model, **options):
        if model == "lda":
            raise MemoryError
        return real(table, model, **options)

    monkeypatch.setattr(spread, "evaluate_head", fail)
    fitted = fit_heads(MODELS, workspace=drawn, cluster="processes:2")
    assert [run.info.model for run in fitted.runs if run.info.model == "lda"] == []
    assert isinstance(fitted.failures["lda"], FitError)
    assert "not enough memory" in str(fitted.failures["lda"])


@pytest.mark.parametrize("model", ["lda", "vote"])
def test_a_curve_is_that_of_one_process(drawn, here, model):
    serial = learning_curve(model, workspace=drawn, repeats=2)
    shared = learning_curve(model, workspace=drawn, repeats=2, cluster="processes:2")
    assert serial == shared


def test_real_processes_read_the_features_by_themselves(drawn):
    fitted = fit_heads(["lda", "centroid"], workspace=drawn, cluster="processes:2")
    assert sorted(run.info.model for run in fitted.runs) == ["centroid", "lda"]


def test_a_wrong_cluster_is_told_before_anything_is_read(tmp_path):
    for function in (fit_heads, learning_curve):
        with pytest.raises(DataError, match="names no number of processes"):
            function(workspace=tmp_path / "none", cluster="processes:0")


def test_a_worker_that_does_not_see_the_workspace_says_so(tmp_path):
    assert check_workspace(str(tmp_path)).root == tmp_path
    with pytest.raises(DataError, match=r"worker .* does not see the workspace .*gone") as caught:
        check_workspace(str(tmp_path / "gone"))
    assert "leave out --cluster" in caught.value.remedy
