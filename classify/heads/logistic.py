"""Logistic regression with an L2 penalty: the head to begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import FitError
from ..large import is_large
from .head import CLASS_WEIGHT, GridPoint, Head, Problems, strength
from .linear import LinearPredictor, both_logits, softmax
from .solver import SharedFeatures, Solution, batches_of, solve
from .streamed import streamed_path

TOL = 1e-4
_ABSENT = -30.0  # logit of a class that a problem has not seen: a probability of 1e-13


class LogisticLoss:
    """The logarithm of the probability of each row's class, and its derivatives.

    Two classes share one logit; more have one each (softmax). The state is the probabilities.

    Parameters
    ----------
    y : ndarray of shape (N,), int
        Classes 0 to K - 1.
    classes : int, optional
        K; by default no more than `y` has.
    """

    flat = 1e-4

    def __init__(self, y: np.ndarray, classes: int | None = None) -> None:
        self.classes = int(y.max()) + 1 if classes is None else classes
        self.y, self.columns = y, 1 if self.classes == 2 else self.classes

    def start(self, weight: np.ndarray) -> np.ndarray:
        """Return intercepts (A, K') that give each class its share of the weight."""
        share = weight @ np.eye(self.classes, dtype=np.float32)[self.y]
        share = np.maximum(share, np.exp(np.float32(_ABSENT)))
        if share.shape[1] == 2:
            return np.log(share[:, 1:] / share[:, :1])
        return np.log(share)

    def residual(self, logits: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities and weighted residuals, both (A, K', N)."""
        if logits.shape[1] == 1:
            probability = 0.5 + 0.5 * np.tanh(0.5 * logits)
            residual = probability - self.y.astype(np.float32)
        else:
            probability = np.exp(logits - logits.max(axis=1, keepdims=True))
            probability /= probability.sum(axis=1, keepdims=True)
            residual = probability.copy()
            residual[:, self.y, np.arange(len(self.y))] -= 1
        residual *= weight[:, None]
        return probability, residual

    def curvature(self, state: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the mean p (1 - p) of each logit (A, K')."""
        return np.einsum("fkn,fn->fk", state * (1 - state), weight)

    def bend(self, state: np.ndarray, change: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the mean variance of the change under the probabilities (A,)."""
        mean = (state * change).sum(axis=1)
        variance = (state * change * change).sum(axis=1) - mean**2
        return np.einsum("fn,fn->f", variance, weight)


def logistic_path(
    X: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray,
    Cs: Sequence[float],
    *,
    pareto: bool = True,
    tol: float = TOL,
    max_iter: int = 200,
) -> Iterator[Solution]:
    """Fit L2-regularised logistic regression along a grid of C, for many weightings of the rows.

    Problem f minimises ``C * sum_i w[f, i] * loss_i + ||W||^2 / 2``. The intercept is unpenalised.
    Features are centred and scaled (see `tlx.classify.heads.scaling`) by the problem's own rows,
    those with positive weight, each counted once, so that nothing leaks from rows held out. Two
    classes share one logit; more have one each (softmax), as in scikit-learn.

    Parameters
    ----------
    X : ndarray of shape (N, D)
        Features, of any floating type. One float32 copy of them is held.
    y : ndarray of shape (N,), int
        Classes 0 to K - 1.
    sample_weight : ndarray of shape (F, N)
        One row a problem, zero for rows held out.
    Cs : sequence of float
        Inverse strengths of regularisation, in any order.
    pareto : bool, default=True
        Whether the penalty is on Pareto-scaled features, else on raw ones. A feature that is
        constant within a problem gets no weight there.
    tol : float, default=1e-4
        See `tlx.classify.heads.solver.Batch.solve`.
    max_iter : int, default=200
        Most iterations at one C.

    Yields
    ------
    Solution
        From the smallest C to the largest, each started from the one before.

    Raises
    ------
    FitError
        If the arguments do not fit together, a feature is not finite, or a problem has one class
        only.

    Notes
    -----
    A class without weight in a problem of three or more takes no part in it: its coefficients are
    (nearly) zero and its logit about 30 below the others.

    Memory beyond `X` and the results is one float32 copy of `X` and a few arrays as large as the
    logits of as many problems as fit into 128 MB.
    """
    y, weight, grid = _checked(X, y, sample_weight, Cs)
    batches = batches_of(SharedFeatures.of(X, pareto), LogisticLoss(y), weight, pareto)
    return (solve(batches, C, tol, max_iter) for C in grid)


def _checked(
    X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray, Cs: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Refuse what cannot be fitted; return classes, float32 weights and the grid, ascending."""
    y, weight = np.asarray(y), np.asarray(sample_weight, np.float32)
    if X.ndim != 2 or y.shape != X.shape[:1] or weight.ndim != 2 or weight.shape[1] != len(y):
        raise FitError(
            f"X of shape {X.shape}, y of shape {y.shape} and sample_weight of shape "
            f"{weight.shape} do not fit together.",
            "Pass X (N, D), y (N,) and sample_weight (F, N).",
        )
    if not len(y) or y.dtype.kind not in "iu" or y.min() < 0:
        raise FitError(f"y is not classes 0 to K - 1: {y[:5]}.", "Pass integers from 0.")
    if not np.isfinite(weight).all() or weight.min(initial=0) < 0:
        raise FitError("a sample weight is negative or not finite.", "Pass weights of 0 or more.")
    wrong = [C for C in Cs if not (C > 0 and np.isfinite(C))]
    if wrong:
        raise FitError(f"C = {wrong[0]} is no strength.", "Pass positive numbers, such as 1.0.")
    present = weight @ np.eye(y.max() + 1, dtype=np.float32)[y] > 0
    for problem in np.flatnonzero(present.sum(axis=1) < 2):
        seen = ", ".join(map(str, np.flatnonzero(present[problem]))) or "none"
        raise FitError(
            f"the training rows of problem {problem} have one class only: {seen}.",
            "Use fewer folds, or more images of the rarest class.",
        )
    return y.astype(np.intp), weight, sorted(float(C) for C in Cs)


@dataclass(frozen=True)
class _LogisticPoint:
    """A point of the grid, whose logits the solver has left."""

    solution: Solution

    @property
    def params(self) -> dict[str, Any]:
        return {"C": self.solution.C}

    def proba(self, problem: int, rows: np.ndarray) -> np.ndarray:
        return softmax(both_logits(self.solution.logits[problem, rows]))

    def head(self, problem: int) -> LinearPredictor:
        coef, intercept = self.solution.coef[problem], self.solution.intercept[problem]
        return LinearPredictor(both_logits(coef).copy(), both_logits(intercept).copy())


def _fit(problems: Problems, grid: Mapping[str, Sequence[float]]) -> Iterator[GridPoint]:
    if is_large(problems.X):
        classes = problems.n_classes
        yield from streamed_path(problems, lambda y: LogisticLoss(y, classes), grid["C"], TOL)
        return
    for solution in logistic_path(problems.X, problems.y, problems.weights, grid["C"]):
        yield _LogisticPoint(solution)


HEAD = Head(
    name="logreg",
    help="logistic regression",
    estimator="LogisticHead",
    notes=(
        "With an L2 penalty, as `sklearn.linear_model.LogisticRegression` has it. Embeddings "
        "have about as many features as a small data set has images, so good values of C are "
        "far below 1."
    ),
    fit=_fit,
    predictors=(LinearPredictor,),
    options=(
        # Features are scaled to a mean variance of 1, and there are from 64 to a few thousand of
        # them for 50 to 50,000 images: with about as many as images, good values are far below 1.
        strength(
            "C",
            "Inverse strength of regularisation",
            1e-2,
            np.logspace(-5, 1, 10),
        ),
        CLASS_WEIGHT,
    ),
    seeds=True,
    many="passes",
    cost=15,
)
