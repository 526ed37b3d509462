"""The claims of benchmarks/honesty.py, measured with few draws on generated features."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import tlx

BENCHMARKS = Path(tlx.__file__).parent / "benchmarks"
TOPICS = sorted(p.stem for p in (BENCHMARKS / "claims").glob("*.py") if p.stem[0] != "_")
TOPICS.remove("common")
SLOW = {
    "calibration",
    "choice_of_best",
    "finetuning",
    "intervals",
    "layers",
    "learning_curve",
    "repeated_folds",
    "vote",
}


@pytest.fixture
def honesty(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("honesty")
    for name in [name for name in sys.modules if name.split(".")[0] in ("claims", "honesty")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "topic", [pytest.param(t, marks=pytest.mark.slow) if t in SLOW else t for t in TOPICS]
)
def test_every_claim_holds_with_few_draws(honesty, topic):
    common = importlib.import_module("claims.common")
    rng = np.random.default_rng(0)
    pool = common.Pool("generated", common.generated(rng, n=2000))
    rows = list(honesty.rows_of(topic, common.Setting([pool], rng, effort=0.05)))
    assert rows, "a topic that measures nothing without photos proves nothing"
    assert not [honesty.line(row) for row in rows if not row.holds]


def test_a_rate_fails_beyond_two_standard_errors(honesty):
    row = importlib.import_module("claims.common").Row
    assert row.rate("x", 880, 1000, at_least=0.9).holds is False
    assert row.rate("x", 885, 1000, at_least=0.9).holds is True
    assert row.rate("x", 70, 1000, at_most=0.05).holds is False


def test_a_sample_has_every_class_in_its_share(honesty):
    common = importlib.import_module("claims.common")
    rng = np.random.default_rng(0)
    table = common.generated(rng, n=1000, C=4)
    rows, others = common.draw_rows(table, 100, rng)
    assert np.bincount(table.y[rows]).tolist() == [25, 25, 25, 25]
    assert sorted([*rows, *others]) == list(range(1000))
