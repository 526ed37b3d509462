import numpy as np
import pytest

from tlx.classify.heads import together
from tlx.classify.heads.linear import LinearPredictor
from tlx.classify.heads.together import HeldOut, TogetherPoint


@pytest.fixture
def heads():
    """Two problems, five points."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return [[LinearPredictor(draw(4, 3), draw(3)) for _ in range(5)] for _ in range(2)]


@pytest.mark.parametrize("held", [2**26, 150, 1])
def test_all_points_give_what_their_heads_give(heads, held, monkeypatch):
    """However many are taken at a time."""
    monkeypatch.setattr(together, "HELD", held)
    X = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    rows = np.arange(3, 47, 2)
    both = HeldOut(X, heads)
    for k in range(5):
        point = TogetherPoint({"C": k}, both, k)
        for problem in (0, 1):
            expected = heads[problem][k].predict_proba(X[rows])
            assert point.head(problem) is heads[problem][k]
            assert point.proba(problem, rows) == pytest.approx(expected, abs=1e-6)
    assert both.proba(0, 0, rows[:3]).shape == (3, 3)  # other rows than before
