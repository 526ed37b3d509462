"""The solver, with losses whose minimum is known otherwise; heads test it with their own."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.heads.logistic import LogisticLoss
from tlx.classify.heads.solver import SharedFeatures, batches_of, solve
from tlx.classify.heads.svm import SquaredHingeLoss
from tlx.errors import FitError


class SquaredError:
    """(d - t)^2 / 2 of a single logit d: ridge regression."""

    columns, flat = 1, 1e-4

    def __init__(self, target):
        self.target = target.astype(np.float32)

    def start(self, weight):
        return np.zeros((len(weight), 1), np.float32)

    def residual(self, logits, weight):
        return np.ones_like(logits), (logits - self.target) * weight[:, None]

    def curvature(self, state, weight):
        return np.einsum("fkn,fn->fk", state, weight)

    def bend(self, state, change, weight):
        return np.einsum("fkn,fn->f", change**2, weight)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 6)).astype(np.float32)
    weight = (rng.permutation(80) % 4 != np.arange(3)[:, None]).astype(np.float32)
    return X, X @ rng.normal(size=6) + rng.normal(size=80), weight


@pytest.mark.parametrize("C", [1e-2, 1.0])
def test_any_loss_is_minimised(data, C):
    X, target, weight = data
    batches = batches_of(SharedFeatures.of(X, False), SquaredError(target), weight, False)
    found = solve(batches, C, 1e-6, 200)
    assert found.converged.all()
    for problem, rows in enumerate(weight > 0):
        Z, t = X[rows].astype(np.float64), target[rows]
        mean = Z.mean(axis=0)
        Z = Z - mean
        W = np.linalg.solve(Z.T @ Z + np.eye(6) / C, Z.T @ (t - t.mean()))
        np.testing.assert_allclose(found.coef[problem, :, 0], W, atol=1e-4)
        np.testing.assert_allclose(found.intercept[problem, 0], t.mean() - mean @ W, atol=1e-4)


@pytest.mark.parametrize("loss", [LogisticLoss, SquaredHingeLoss])
def test_derivatives_are_those_of_the_loss(loss):
    """By differences of the residuals, in directions drawn at random."""
    rng = np.random.default_rng(0)
    y, weight = np.arange(20) % 2, rng.uniform(0.5, 1, (3, 20)).astype(np.float32)
    logits = rng.normal(size=(3, 1, 20)).astype(np.float32)
    change = rng.normal(size=(3, 1, 20)).astype(np.float32)
    its = loss(y)
    state, before = its.residual(logits, weight)
    after = its.residual(logits + 1e-3 * change, weight)[1]
    slope = ((after - before) * change).sum(axis=(1, 2)) / 1e-3
    np.testing.assert_allclose(its.bend(state, change, weight), slope, rtol=0.05)
    assert its.curvature(state, weight).shape == (3, its.columns)


def test_many_problems_are_solved_in_several_batches(data):
    X, target, weight = data
    y = (target > 0).astype(int)
    shared = SharedFeatures.of(X)
    whole = solve(batches_of(shared, LogisticLoss(y), weight), 1.0, 1e-6, 200)
    batches = batches_of(shared, LogisticLoss(y), weight, floats=2 * 80)
    parts = solve(batches, 1.0, 1e-6, 200)
    assert len(batches) == 2
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-3)
    assert parts.converged.shape == (3,)


def test_a_feature_that_is_not_finite_is_named(data):
    X, _, _ = data
    X[5, 1] = np.nan
    with pytest.raises(FitError, match="feature 1 is not finite"):
        SharedFeatures.of(X)
