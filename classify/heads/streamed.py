"""Linear heads of many rows: solved on a sample first, then in few passes over all of them.

Nothing here is as long as the rows but their weights and classes. The solution of a sample is near;
from it L-BFGS goes on with the sample's curvature pairs and preconditioner, and takes the gradient
from all rows, block by block. A step is of full length unless the slope at its end says that it
went too far: the objective is convex, so the slope says it. Then a shorter one is tried. Each
trial is one pass, in which every problem takes its own step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .. import large
from .head import PredictorPoint, Problems
from .linear import LinearPredictor, both_logits
from .solver import Batch, Loss, SharedFeatures, dot, penalty
from .sums import sum_problems

PASSES = 40  # over the rows, at most, at each strength
BEGIN = 16_384  # rows that are solved first
_LOGITS = 2**25  # of them, at most: 128 MB
_OF_CLASS = 16  # rows of each class in the sample at least, if there are so many
_TOO_FAR = 0.5  # share of the first slope that may be left beyond the minimum

LossOf = Callable[[np.ndarray], Loss]


def streamed_path(
    problems: Problems,
    loss_of: LossOf,
    Cs: Sequence[float],
    tol: float,
    finish: Callable[[int, LinearPredictor], LinearPredictor] = lambda problem, head: head,
) -> Iterator[PredictorPoint]:
    """Fit every problem at each C, from the smallest.

    Parameters
    ----------
    problems : Problems
    loss_of : callable
        Given the classes (n,) of rows, returns their loss; of the same number of logits always.
    Cs : sequence of float
    tol : float
        See `tlx.classify.heads.solver.Batch.solve`.
    finish : callable, optional
        Given the number of a problem and its head, returns the one to be kept.

    Raises
    ------
    FitError
        If a feature is not finite.
    """
    batch = _Streamed(problems, loss_of)
    for C in sorted(map(float, Cs)):
        found = batch.solve(C, tol, 200)
        heads = []
        for k in range(len(problems.weights)):
            head = LinearPredictor(both_logits(found.coef[k]), both_logits(found.intercept[k]))
            present = problems.y[problems.weights[k] > 0]
            absent = np.bincount(present, minlength=problems.n_classes) == 0
            heads.append(finish(k, head).without(absent))
        yield PredictorPoint({"C": C}, problems.X, heads)


class _Streamed(Batch):
    """Problems on a sample, which then go on with all rows."""

    def __init__(self, problems: Problems, loss_of: LossOf) -> None:
        X, weights = problems.X, problems.weights
        means, inverses, totals = [], [], []
        for make in sum_problems(problems, False, problems.seed):
            own = make()
            means.append(own.mean)
            inverses.append(own.inverse)
            totals.append(own.total)
        columns = loss_of(problems.y[:1]).columns
        rows = _sample(problems, len(weights) * columns)
        data = SharedFeatures.of(X[rows])
        mean = ((np.array(means) - data.shift) / data.scale).astype(np.float32)
        inverse = (np.array(inverses) * data.scale).astype(np.float32)
        own_weights = weights[:, rows].astype(np.float32)
        super().__init__(data, loss_of(problems.y[rows]), own_weights, scalers=(mean, inverse))
        self.problems, self.loss_of, self.total = problems, loss_of, np.array(totals)
        self.all_weights = (weights / self.total[:, None]).astype(np.float32)

    def _converge(self, C: float, tol: float, max_iter: int) -> tuple[int, np.ndarray]:
        """Minimise on the sample, then on all rows; return the passes, and what converged."""
        every = np.arange(len(self.total))
        self.logits = self._product(self.theta, every)  # all rows may have moved it since
        state, residual = self.loss.residual(self.logits, self.weight)
        self.curvature = self._curvature(state, every)
        self.loss_gradient = self._gradient(residual, every)
        super()._converge(C, tol, max_iter)
        ridge = (1 / (C * self.total)).astype(np.float32)
        active, step = every, np.zeros_like(self.theta)
        length = np.zeros(len(every), np.float32)
        slope = np.zeros(len(every), np.float32)
        converged = np.zeros(len(every), bool)
        passes = 1  # to the sums
        while passes < PASSES and len(active):
            passes += 1
            self.problems.progress(passes, PASSES)
            trial = self.theta[active] + length[active, None, None] * step[active]
            found = self._pass(trial, active)
            gradient = found + penalty(ridge[active], trial)
            end = dot(gradient, step[active])
            far = end > _TOO_FAR * np.abs(slope[active])
            good, bad = active[~far], active[far]
            shorter = slope[bad] / (slope[bad] - end[far])
            length[bad] *= np.clip(shorter, 0.1, 0.9)
            self._take(good, length[good, None, None] * step[good], found[~far])
            gradient = gradient[~far]
            done = np.abs(gradient).max(axis=(1, 2)) <= tol
            converged[good[done]] = True
            on = good[~done]
            if len(on):
                step[on] = self._direction(gradient[~done], ridge[on], on)
                slope[on] = dot(gradient[~done], step[on])
                length[on] = 1
            active = np.flatnonzero(~converged)
        return passes, converged

    def _take(self, problems: np.ndarray, step: np.ndarray, loss_gradient: np.ndarray) -> None:
        """Move to where the gradient of all rows is known, and learn from the way there."""
        moved = np.abs(step).max(axis=(1, 2), initial=0) > 0  # the first pass only looks
        slot = self.pairs[problems] % self.steps.shape[1]
        self.steps[problems[moved], slot[moved]] = step[moved]
        change = loss_gradient - self.loss_gradient[problems]
        self.changes[problems[moved], slot[moved]] = change[moved]
        self.pairs[problems[moved]] += 1
        self.theta[problems] += step
        self.loss_gradient[problems] = loss_gradient

    def _pass(self, theta: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Gradient of the mean loss of all rows (A, K', D + 1): see `Batch._gradient`."""
        X, y, data = self.problems.X, self.problems.y, self.data
        shape = theta.shape[:2]
        weights = theta[..., :-1] * self.inverse[active][:, None]
        offset = theta[..., -1] - np.einsum("fkd,fd->fk", weights, self.mean[active])
        flat = (weights / data.scale).astype(np.float32).reshape(-1, X.shape[1])
        shift = data.shift.astype(np.float32)
        product, total = np.zeros(flat.shape), np.zeros(shape)
        for rows in large.blocks_of(len(X), X.shape[1] + 4 * len(flat)):
            weight = self.all_weights[active, rows]
            mine = np.flatnonzero(weight.any(axis=0))
            if not len(mine):
                continue
            some = len(mine) < weight.shape[1]
            Z = X[rows][mine] if some else X[rows]
            Z = np.subtract(Z, shift, out=Z if some else None)
            logits = np.ascontiguousarray((Z @ flat.T).T).reshape(*shape, -1)
            logits += offset[..., None]
            loss = self.loss_of(y[rows][mine])
            _, residual = loss.residual(logits, weight[:, mine] if some else weight)
            total += residual.sum(axis=-1)
            product += residual.reshape(len(flat), -1) @ Z
        gradient = np.empty(theta.shape, np.float32)
        gradient[..., -1] = total
        along = (product / data.scale).reshape(*shape, -1) - total[..., None] * self.mean[active][
            :, None
        ]
        gradient[..., :-1] = along * self.inverse[active][:, None]
        return gradient


def _sample(problems: Problems, columns: int) -> np.ndarray:
    """Return rows to begin with: at random, and some of every class."""
    y, learned = problems.y, np.flatnonzero(problems.weights.any(axis=0))
    n = max(2048, min(BEGIN, _LOGITS // columns))
    drawn = large.draw_rows(learned, problems.groups, n, problems.seed)
    mixed = np.random.default_rng(problems.seed).permutation(learned)
    by_class = mixed[np.argsort(y[mixed], kind="stable")]
    place = np.arange(len(by_class)) - np.searchsorted(y[by_class], y[by_class])
    return np.union1d(drawn, by_class[place < _OF_CLASS])
