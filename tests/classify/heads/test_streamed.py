"""Heads that take passes over many rows end where those in memory do."""

import numpy as np
import pytest

from tlx.classify import large
from tlx.classify.heads import streamed
from tlx.classify.heads.logistic import TOL, LogisticLoss
from tlx.classify.heads.registry import fit_grid
from tlx.classify.heads.svm import OneAgainstRestLoss, SquaredHingeLoss
from tlx.errors import FitError


@pytest.fixture
def rows():
    """4,000 rows of 20 features, one of them constant, in four classes; three problems."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 4000)
    X = rng.normal(size=(4, 20))[y] * 0.7 + rng.normal(size=(4000, 20)) * rng.uniform(0.2, 2, 20)
    X[:, 5] = 7
    weights = np.ones((3, 4000))
    weights[0, ::5] = weights[1, 1::5] = weights[:, 3950:] = 0
    return (X + 3).astype(np.float32), y, weights


@pytest.fixture
def blocks(monkeypatch):
    """A function after which everything is large, a sample has some 500 rows and a block 300."""

    def start():
        monkeypatch.setattr(large, "MEMORY", 0)
        monkeypatch.setattr(large, "BLOCK", 300 * 40)
        monkeypatch.setattr(streamed, "BEGIN", 2048)

    return start


def told(head, X, y, weights, C, **options):
    (point,) = fit_grid(head, X, y, weights, {"C": [C]}, **options)
    held = np.flatnonzero(weights[0] == 0)
    return np.array([point.proba(k, held) for k in range(len(weights))])


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("weight", [None, "balanced"])
def test_logistic_regression_is_that_of_memory(classes, weight, rows, blocks):
    X, y, weights = rows
    y = y % classes
    expected = told("logreg", X, y, weights, 1e-3, class_weight=weight)
    blocks()
    found = told("logreg", X, y, weights, 1e-3, class_weight=weight)
    assert np.abs(found - expected).max() < 0.01
    assert (found.argmax(axis=2) == expected.argmax(axis=2)).mean() > 0.995


@pytest.mark.parametrize("classes", [2, 4])
def test_so_are_the_decisions_of_support_vector_machines(classes, rows, blocks):
    X, y, weights = rows
    y = y % classes
    expected = told("svm", X, y, weights, 1e-3)
    blocks()
    found = told("svm", X, y, weights, 1e-3)
    assert (found.argmax(axis=2) == expected.argmax(axis=2)).mean() > 0.995
    assert np.abs(found - expected).max() < 0.1  # the factor comes from the rows themselves


@pytest.mark.parametrize("head", ["logreg", "svm"])
@pytest.mark.parametrize("C", [1e-4, 1e-2, 10.0])
def test_forty_passes_over_the_rows_are_the_most(head, C, rows, blocks, counted):
    X, y, weights = rows
    blocks()
    X = counted(X)
    list(fit_grid(head, X, y, weights, {"C": [C]}))
    # Few rows are here, so that the samples weigh: in all of two passes.
    assert np.median(X.taken) <= streamed.PASSES
    assert X.taken.sum() <= (streamed.PASSES + 2) * len(X)


def test_the_gradient_at_the_end_is_as_small_as_was_asked_for(rows, blocks):
    X, y, weights = rows
    blocks()
    (point,) = fit_grid("logreg", X, y, weights, {"C": [1e-2]})
    head, learned = point.head(2), weights[2] > 0
    residual = head.predict_proba(X[learned]) - np.eye(4)[y[learned]]
    Z = X[learned] - X[learned].mean(axis=0)
    std = Z.std(axis=0)
    scale = np.where(std > 1e-6, np.sqrt(std * std[std > 1e-6].mean()), np.inf)
    gradient = (residual.T @ (Z / scale)) / learned.sum()
    penalty = (head.weights * np.where(np.isinf(scale), 0, scale)[:, None]).T
    penalty -= penalty.mean(axis=0)  # softmax does not see a common weight
    assert np.abs(gradient + penalty / (1e-2 * learned.sum())).max() < 2 * TOL


def test_a_class_of_few_rows_is_in_the_sample(rows, blocks):
    X, y, weights = rows
    y[:] = y % 2
    y[:3] = 2
    X[:3] += 5
    weights[:, :3] = 1
    blocks()
    (point,) = fit_grid("logreg", X, y, weights, {"C": [1.0]})
    assert (point.head(2).predict_proba(X[:3]).argmax(axis=1) == 2).all()


@pytest.mark.parametrize("head", ["logreg", "svm"])
def test_a_feature_that_is_not_finite_is_refused(head, rows, blocks):
    X, y, weights = rows
    X[2222, 3] = np.inf
    blocks()
    with pytest.raises(FitError, match="feature 3 is not finite"):
        list(fit_grid(head, X, y, weights, {"C": [1.0]}))


def test_losses_of_a_block_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    y, logits = rng.integers(0, 3, 30), rng.normal(size=(2, 3, 30)).astype(np.float32)
    weight = rng.uniform(size=(2, 30)).astype(np.float32)
    for loss in (LogisticLoss, OneAgainstRestLoss):
        whole = loss(y, 3).residual(logits, weight)[1]
        part = loss(y[:7], 3).residual(logits[..., :7], weight[:, :7])[1]
        assert np.allclose(whole[..., :7], part, atol=1e-6)
    one = SquaredHingeLoss((y == 1).astype(int)).residual(logits[:, 1:2], weight)[1]
    assert np.allclose(OneAgainstRestLoss(y, 3).residual(logits, weight)[1][:, 1:2], one, atol=1e-6)
