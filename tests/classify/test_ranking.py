"""Rankings of runs that were fitted on drawn features."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.ranking import check_rope, rank_runs
from tlx.errors import DataError


@pytest.fixture
def ranked(add_dataset, draw, place):
    """Return a function that ranks runs of three C, the middle one twice; y is of two classes."""
    add_dataset("d", *draw(120, spread=1.5))
    runs = [fit_head("logreg", workspace=place.root, C=C) for C in (1e-6, 0.5, 1.0)]
    runs.append(runs[1])
    found = runs[0].predictions()
    draws = [run.predictions().all_draws for run in runs]

    def ranked(rope: float = 0.01, n_folds: int = 5, metric: str = "accuracy"):
        return rank_runs(
            runs, draws, found.label, found.group, metric=metric, rope=rope, n_folds=n_folds
        )

    return ranked


def test_every_row_but_the_first_has_a_verdict_and_only_the_open_ones_a_number(ranked) -> None:
    for rope in (0.0, 0.01, 0.5):
        rows, _, _ = ranked(rope)
        assert rows[0].verdict == "best"
        assert {row.verdict for row in rows[1:]} <= {"equal", "worse", "not known"}
        for row in rows:
            assert row.verdict == "not known" or row.images_needed is None
    assert {row.verdict for row in rows[1:]} == {"equal"}  # within 50 points


def test_the_same_predictions_count_once_and_are_equal(ranked) -> None:
    rows, _, pairs = ranked(0.0)
    assert pairs == 3
    twins = [row for row in rows if row.run.id == "logreg-2"]
    assert len(twins) == 2
    assert twins[0].difference == twins[1].difference


def test_folds_leave_fewer_differences_beyond_chance(ranked) -> None:
    split, folds = (ranked(n_folds=n)[0] for n in (1, 5))
    for one, other in zip(split[1:], folds[1:], strict=True):
        assert one.difference.p_value <= other.difference.p_value
        assert one.difference.low >= other.difference.low


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_the_best_without_what_choosing_adds_is_no_better(ranked, metric: str) -> None:
    rows, corrected, _ = ranked(metric=metric)
    sign = -1 if metric == "log_loss" else 1
    assert sign * corrected.value <= sign * rows[0].metric.value + 1e-9
    width = rows[0].metric.high - rows[0].metric.low
    assert corrected.high - corrected.low == pytest.approx(width, abs=1e-6)


@pytest.mark.parametrize("rope", [-0.01, math.inf, math.nan, "1", None])
def test_a_region_that_is_none_is_refused(rope) -> None:
    with pytest.raises(DataError, match=r"region of practical equivalence of .*\nUse a difference"):
        check_rope(rope)
    assert check_rope(0) == 0.0
    assert check_rope(np.float64(0.02)) == 0.02
