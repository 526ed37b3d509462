"""Heads of many rows, from sums over blocks, are those of the rows in memory."""

import numpy as np
import pytest

from tlx.classify import large
from tlx.classify.heads.head import Problems
from tlx.classify.heads.registry import fit_grid
from tlx.classify.heads.sums import sum_problems
from tlx.errors import FitError

HEADS = ("centroid", "ridge", "lda")


@pytest.fixture
def rows():
    """600 rows of 12 features, one of them constant, in four classes; three problems."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 600)
    X = rng.normal(size=(4, 12))[y] + rng.normal(size=(600, 12)) * rng.uniform(0.2, 2, 12) + 3
    X[:, 5] = 7
    weights = np.ones((3, 600))
    weights[0, ::5] = weights[1, 1::5] = weights[:, 590:] = 0
    return X.astype(np.float32), y, weights


@pytest.fixture
def blocks(monkeypatch):
    """A function after which everything is large, and comes in blocks of 37 rows of 12."""

    def start():
        monkeypatch.setattr(large, "MEMORY", 0)
        monkeypatch.setattr(large, "BLOCK", 37 * 12)

    return start


def told(head, X, y, weights, **options):
    """What each problem gives the rows that it has not seen, at each point of the grid."""
    path = fit_grid(head, X, y, weights, **options)
    held = [np.flatnonzero(weight == 0) for weight in weights]
    return np.array([[point.proba(k, held[0]) for k in range(len(weights))] for point in path])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("classes", [2, 4])
def test_blocks_give_what_memory_gives(head, classes, rows, blocks):
    X, y, weights = rows
    y = y % classes
    expected = told(head, X, y, weights, groups=np.arange(600) // 3)
    blocks()
    found = told(head, X, y, weights, groups=np.arange(600) // 3)
    assert np.abs(found - expected).max() < 2e-5
    point = next(iter(fit_grid(head, X, y, weights)))
    assert point.head(2).predict_proba(X[:5]).shape == (5, classes)


@pytest.mark.parametrize("head", ["ridge", "lda"])
def test_so_it_is_with_weights(head, rows, blocks):
    X, y, weights = rows
    y = np.where(y == 3, 0, y)
    expected = told(head, X, y, weights, class_weight="balanced")
    blocks()
    assert np.abs(told(head, X, y, weights, class_weight="balanced") - expected).max() < 2e-5


@pytest.mark.parametrize("head", HEADS)
def test_each_row_is_read_once_to_learn_and_once_to_be_scored(head, rows, blocks, counted):
    """Whatever the number of problems and of points of the grid."""
    X, y, weights = rows
    weights[:, ::4] = 0
    blocks()
    X = counted(X)
    point = iter(fit_grid(head, X, y, weights))
    next(point)
    sample = X.taken.max()
    assert sample <= 2  # of some the shift is taken first
    assert X.taken.sum() <= 1.2 * 600 + 600
    X.taken[:] = 0
    held = np.flatnonzero(weights[0] == 0)
    for one in point:
        one.proba(0, held)
    assert X.taken[held].tolist() == [1] * len(held)
    assert X.taken.sum() == len(held)


def test_a_feature_that_is_not_finite_is_refused(rows, blocks):
    X, y, weights = rows
    X[555, 3] = np.nan
    blocks()
    with pytest.raises(FitError, match="feature 3 is not finite"):
        list(fit_grid("ridge", X, y, weights))


def test_products_are_made_only_where_they_are_needed(rows):
    X, y, weights = rows
    problems = Problems(X, y, weights, np.arange(600))
    (with_them, *_), (without, *_) = (sum_problems(problems, each) for each in (True, False))
    assert with_them().product.shape == (12, 12)
    assert without().product.size == 0
    assert with_them().total == weights[0].sum()
