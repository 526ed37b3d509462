"""Regularisation paths of a linear support vector machine, over all folds at once.

One machine a class against the rest, with the squared hinge loss and an L2 penalty, as
`sklearn.svm.LinearSVC` has them. The loss is convex and smooth, so `tlx.classify.heads.solver`
minimises it like that of logistic regression, with all it shares between folds and strengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..large import SAMPLE, draw_rows, is_large
from .head import CLASS_WEIGHT, Head, PredictorPoint, Problems, strength
from .inner import fit_scale, inner_folds
from .linear import LinearPredictor, both_logits
from .solver import SharedFeatures, batches_of, solve
from .streamed import streamed_path

TOL = 1e-3
_FOLDS = 3  # in which a problem's own rows are held out to scale its probabilities


class SquaredHingeLoss:
    """max(0, 1 - s d)^2 of decision values d, and its derivatives; s is 1 for the class, else -1.

    The state is the second derivatives.

    Parameters
    ----------
    mine : ndarray of shape (N,), int
        1 for rows of the class, else 0.
    """

    columns = 1
    flat = 1e-2

    def __init__(self, mine: np.ndarray) -> None:
        self.mine, self.sign = mine, (2 * mine - 1).astype(np.float32)

    def start(self, weight: np.ndarray) -> np.ndarray:
        """Return the log odds (A, 1) of the class."""
        share = weight @ np.eye(2, dtype=np.float32)[self.mine]
        return np.log(share[:, 1:] / share[:, :1])

    def residual(self, logits: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return second derivatives, and weighted first derivatives, (A, columns, N)."""
        short = np.maximum(1 - self.sign * logits, 0)
        residual = -2 * self.sign * short
        residual *= weight[:, None]
        return 2 * (short > 0).astype(np.float32), residual

    def curvature(self, state: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the mean second derivative (A, columns)."""
        return np.einsum("fkn,fn->fk", state, weight)

    def bend(self, state: np.ndarray, change: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the second derivative along the change (A,)."""
        return np.einsum("fkn,fkn,fkn,fn->f", state, change, change, weight)


class OneAgainstRestLoss(SquaredHingeLoss):
    """The sum of that loss over classes, each against the rest; of two classes that of the second.

    Parameters
    ----------
    y : ndarray of shape (N,), int
    classes : int
    """

    def __init__(self, y: np.ndarray, classes: int) -> None:
        ones = [1] if classes == 2 else list(range(classes))
        self.columns = len(ones)
        self.sign = np.where(y == np.array(ones)[:, None], np.float32(1), np.float32(-1))  # (K', N)

    def start(self, weight: np.ndarray) -> np.ndarray:
        """Return the log odds (A, K') of each class."""
        share = np.clip(weight @ (self.sign > 0).T.astype(np.float32), 1e-6, 1 - 1e-6)
        return np.log(share / (1 - share))


def svm_path(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    Cs: Sequence[float],
    *,
    groups: np.ndarray,
    seed: int = 0,
    tol: float = TOL,
    max_iter: int = 200,
) -> Iterator[tuple[float, list[LinearPredictor]]]:
    """Fit linear support vector machines along a grid of C, for many weightings of the rows.

    Problem f minimises for each class ``||w||^2 / 2 + C * sum_i weight[f, i] * max(0, 1 - s_i
    d_i)^2``, s_i = 1 for rows of the class and -1 for others, on features scaled by its own
    rows, the intercept unpenalised. Two classes have one decision value; more have one each.

    A margin is no probability. Three more fits, each without a third of the problem's rows, give
    those rows decision values d; probabilities are softmax(a d) (for two classes the sigmoid of
    a d) with the a of `fit_scale` on them. The class decided for stays the same.

    Parameters
    ----------
    X : ndarray of shape (N, D)
    y : ndarray of shape (N,), int
    weights : ndarray of shape (F, N)
    Cs : sequence of float
    groups : ndarray of shape (N,), int
        Kept whole by the three fits.
    seed : int, default=0
        Of the thirds.
    tol, max_iter
        As in `tlx.classify.heads.logistic.logistic_path`. This loss is eight times as curved, so
        the same gradient is eight times as near to the solution.

    Yields
    ------
    C : float
        Ascending.
    heads : list of F LinearPredictor
    """
    folds = [_thirds(y, groups, weight, seed) for weight in weights]
    without = [
        [weight * (fold != k) for k in range(n)]
        for weight, (fold, n) in zip(weights, folds, strict=True)
    ]
    fits = np.concatenate([weights, *[np.stack(rows) for rows in without if rows]])
    for C, coef, intercept, decisions in _decision_path(X, y, fits, Cs, tol, max_iter):
        heads, companion = [], len(weights)
        for problem, (fold, n) in enumerate(folds):
            held = [np.flatnonzero(fold == k) for k in range(n)]
            rows = np.concatenate([np.empty(0, int), *held])
            blocks = [decisions[companion + k][part] for k, part in enumerate(held)]
            companion += n
            scale = 1.0
            if len(rows):
                seen = both_logits(np.concatenate(blocks))
                scale = fit_scale(seen, y[rows], weights[problem][rows])
            head = LinearPredictor(both_logits(coef[problem]), both_logits(intercept[problem]))
            absent = np.bincount(y[weights[problem] > 0], minlength=y.max() + 1) == 0
            heads.append(head.scaled(scale).without(absent))
        yield C, heads


def _thirds(
    y: np.ndarray, groups: np.ndarray, weight: np.ndarray, seed: int
) -> tuple[np.ndarray, int]:
    """Return the fold (N,) of each row of a problem, -1 for all others, and their number."""
    rows = np.flatnonzero(weight > 0)
    fold = np.full(len(y), -1)
    fold[rows], n = inner_folds(y[rows], groups[rows], _FOLDS, seed)
    if any(len(np.unique(y[rows[fold[rows] != k]])) < 2 for k in range(n)):
        return np.full(len(y), -1), 0
    return fold, n


def _decision_path(
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    Cs: Sequence[float],
    tol: float,
    max_iter: int,
) -> Iterator[tuple[float, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield C, weights (F, D, K'), intercepts (F, K') and decision values (F, N, K')."""
    data = SharedFeatures.of(X)
    classes = [1] if y.max() == 1 else range(y.max() + 1)
    fits = []  # column, problems, batches
    for column, k in enumerate(classes):
        mine = (y == k).astype(np.intp)
        both = np.flatnonzero((weights @ mine > 0) & (weights @ (1 - mine) > 0))
        if len(both):
            weight = weights[both].astype(np.float32)
            fits.append((column, both, batches_of(data, SquaredHingeLoss(mine), weight)))
    shape = (len(weights), len(classes))
    for C in sorted(Cs):
        coef = np.zeros((shape[0], X.shape[1], shape[1]), np.float32)
        intercept = np.full(shape, -1, np.float32)  # a class that a problem lacks is never near
        decisions = np.full((shape[0], len(X), shape[1]), -1, np.float32)
        for column, both, batches in fits:
            found = solve(batches, C, tol, max_iter)
            coef[both, :, column] = found.coef[..., 0]
            intercept[both, column] = found.intercept[:, 0]
            decisions[both, :, column] = found.logits[..., 0]
        yield C, coef, intercept, decisions


def _of_many(problems: Problems, Cs: Sequence[float]) -> Iterator[PredictorPoint]:
    """Fit on many rows; their own decision values scale the probabilities.

    Those are flattered by next to nothing where there are many more rows than features, and what
    inner folds held out corrects it: fits without thirds would be three times the work.
    """
    X, y, classes = problems.X, problems.y, problems.n_classes

    def finish(problem: int, head: LinearPredictor) -> LinearPredictor:
        learned = np.flatnonzero(problems.weights[problem] > 0)
        rows = draw_rows(learned, problems.groups, SAMPLE, problems.seed)
        return head.scaled(
            fit_scale(head.logits(X[rows]), y[rows], problems.weights[problem][rows])
        )

    yield from streamed_path(
        problems, lambda labels: OneAgainstRestLoss(labels, classes), Cs, TOL, finish
    )


def _fit(problems: Problems, grid: Mapping[str, Sequence[float]]) -> Iterator[PredictorPoint]:
    if is_large(problems.X):
        yield from _of_many(problems, grid["C"])
        return
    X, y, weights = problems.X, problems.y, problems.weights
    path = svm_path(X, y, weights, grid["C"], groups=problems.groups, seed=problems.seed)
    for C, heads in path:
        yield PredictorPoint({"C": C}, X, heads)


HEAD = Head(
    name="svm",
    help="linear support vector machine",
    estimator="SVMHead",
    notes=(
        "One machine a class against the rest, with the squared hinge loss. The decision is "
        "that of `sklearn.svm.LinearSVC` (with a free intercept). Its values times a factor "
        "are the logits; the factor is fitted on values that rows get from fits without them, "
        "in threefold cross-validation."
    ),
    fit=_fit,
    predictors=(LinearPredictor,),
    options=(
        # The squared hinge is eight times as curved as the logistic loss.
        strength(
            "C",
            "Inverse strength of regularisation",
            1e-3,
            np.logspace(-6, 0, 10),
        ),
        CLASS_WEIGHT,
    ),
    random=True,
    seeds=True,
    many="passes",
    cost=35,
)
