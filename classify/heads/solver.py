"""Regularisation paths of linear heads, over all folds at once.

Choosing C by nested cross-validation fits the same data hundreds of times. Every fit needs the
same two products with the features, logits = X W and gradient = X^T R, so all problems run side by
side here: one matrix product serves every fold, and the scaling of each fold is folded into its
weights, so that the features are held once. Any convex, smooth `Loss` of the logits will do.

The method is L-BFGS [1]_ with three additions:

* the penalty is known exactly, so curvature pairs store the change of the loss gradient only, and
  remain valid secants when C changes: the memory is carried along the path;
* a shared preconditioner from the leading eigenvectors of X^T X, which makes the first step at
  every C close to a Newton step;
* a line search on logits(w + t d) = logits(w) + t X d: it costs no product with X, so it may be
  nearly exact.

Arithmetic is in float32, and gradients much below 1e-6 are rounding: a problem that stops improving
there ends unconverged, at the best that float32 gives.

References
----------
.. [1] D. C. Liu, J. Nocedal (1989), On the limited memory BFGS method for large scale
   optimization, Mathematical Programming 45.
.. [2] N. Halko, P. G. Martinsson, J. A. Tropp (2011), Finding structure with randomness, SIAM
   Review 53.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...errors import FitError
from .linear import row_blocks
from .scaling import pareto_scale

_MEMORY = 10  # curvature pairs of L-BFGS, as in scikit-learn's lbfgs
_RANK = 64  # leading eigenvectors in the preconditioner; 256 saved no iteration and cost 0.1 s
_SAMPLE = 4096  # rows from which they are found
_CHUNK = 2**25  # floats in one array of logits
_SLOPE = 0.1  # the line search stops at this share of the first slope
_TRIALS = 12  # most steps of a line search
_PATIENCE = 30  # iterations without a smaller gradient: float32 has no more to give


class Loss(Protocol):
    """A convex loss of the logits of N rows, for A problems at a time.

    Attributes
    ----------
    columns : int
        K', the logits that it takes a row.
    flat : float
        Least curvature that the solver's first guess believes.
    """

    columns: int
    flat: float

    def start(self, weight: np.ndarray) -> np.ndarray:
        """Return the intercepts (A, K') to begin with; weights (A, N) sum to 1 for each problem."""
        ...

    def residual(self, logits: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a state for the other methods, and the derivatives by the logits (A, K', N).

        The derivatives are weighted; the state is not, and is as large.
        """
        ...

    def curvature(self, state: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the mean second derivative by each logit (A, K')."""
        ...

    def bend(self, state: np.ndarray, change: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the second derivative (A,) along a `change` of the logits (A, K', N)."""
        ...


@dataclass(frozen=True)
class Solution:
    """Solutions of all problems at one strength of regularisation.

    Attributes
    ----------
    C : float
        Inverse strength of regularisation.
    coef : ndarray of shape (F, D, K'), float32
        Weights on raw features: the scaling is folded in. K' logits.
    intercept : ndarray of shape (F, K'), float32
        Intercepts on raw features.
    logits : ndarray of shape (F, N, K'), float32
        ``X @ coef + intercept`` for every row, held out or not.
    iterations : int
        Iterations of the slowest problem.
    converged : ndarray of shape (F,), bool
        Whether each problem reached the tolerance.
    """

    C: float
    coef: np.ndarray
    intercept: np.ndarray
    logits: np.ndarray
    iterations: int
    converged: np.ndarray


@dataclass(frozen=True)
class SharedFeatures:
    """Features centred and scaled by all rows, and their leading eigenvectors.

    This shift and scale are undone in every result. They only keep float32 products accurate.
    """

    Z: np.ndarray  # (N, D) float32
    shift: np.ndarray  # (D,) float64
    scale: np.ndarray  # (D,) float64
    vectors: np.ndarray  # (D, k) float32, of Z^T Z / N
    values: np.ndarray  # (k,) float32, ascending

    @classmethod
    def of(cls, X: np.ndarray, pareto: bool = True) -> SharedFeatures:
        """Copy the features X (N, D), of any floating type; `pareto` is whether they are scaled.

        Raises
        ------
        FitError
            If one is not finite.
        """
        shift = np.zeros(X.shape[1])
        for rows in row_blocks(X):
            shift += X[rows].sum(axis=0, dtype=np.float64) / len(X)
        if not np.isfinite(shift).all():
            raise FitError(
                f"feature {np.flatnonzero(~np.isfinite(shift))[0]} is not finite in some row.",
                "Remove the rows whose features are NaN or infinite.",
            )
        Z = np.empty(X.shape, np.float32)
        variance = np.zeros(X.shape[1])
        for rows in row_blocks(X):
            centred = X[rows] - shift
            Z[rows] = centred
            variance += np.einsum("nd,nd->d", centred, centred)
        scale = np.ones_like(shift)
        if pareto:
            scale = pareto_scale(np.sqrt(variance / len(X)))
            scale[np.isinf(scale)] = 1
            Z /= scale.astype(np.float32)
        return cls(Z, shift, scale, *_leading_eigenvectors(Z))


def _leading_eigenvectors(Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvectors (D, k) and eigenvalues (k,) of Z^T Z / N by subspace iteration [2]_."""
    sample = Z[:: -(-len(Z) // _SAMPLE)]
    basis = np.random.default_rng(0).standard_normal(
        (Z.shape[1], min(_RANK, *sample.shape)), dtype=np.float32
    )
    for _ in range(2):
        basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
    small = sample @ basis
    values, rotation = np.linalg.eigh(small.T @ small / np.float32(len(sample)))
    return basis @ rotation, np.maximum(values, 0)


def _scalers(
    data: SharedFeatures, weight: np.ndarray, pareto: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (F, D) of Z over each problem's rows, and what to multiply it by to scale it by them.

    A constant feature gets an inverse of 0. Its gradient, and so its weight, would be 0 anyway.
    """
    mask = (weight > 0).astype(np.float32)
    count = mask.sum(axis=1, keepdims=True)
    mean = (mask @ data.Z) / count
    if not pareto:
        return mean, np.ones_like(mean)
    square = sum(mask[:, rows] @ np.square(data.Z[rows]) for rows in row_blocks(data.Z)) / count
    variance = square - mean**2
    # The difference cancels where a feature hardly varies: those few are computed directly.
    for problem, feature in np.argwhere(variance < 1e-3 * square):
        column = data.Z[mask[problem] > 0, feature]
        variance[problem, feature] = column.var(dtype=np.float64) if np.ptp(column) else 0.0
    raw_std = data.scale * np.sqrt(np.maximum(variance, 0))
    return mean, (data.scale / pareto_scale(raw_std)).astype(np.float32)


class Batch:
    """Problems that are solved side by side, and what they carry from one C to the next.

    `weight` (F, N) has a row a problem, zero for rows held out.

    F problems, K' logits, parameters ``theta`` (F, K', D + 1) with the intercept last, in each
    problem's own scaled coordinates. Weights are divided by their sum S, so the objective
    is mean loss + ridge / 2 ||W||^2 with ridge = 1 / (C S).
    """

    def __init__(
        self,
        data: SharedFeatures,
        loss: Loss,
        weight: np.ndarray,
        pareto: bool = True,
        scalers: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        shape = (len(weight), loss.columns, data.Z.shape[1] + 1)
        total = weight.sum(axis=1, dtype=np.float64)
        self.data, self.loss, self.total = data, loss, total
        self.weight = (weight / total[:, None]).astype(np.float32)
        self.mean, self.inverse = scalers or _scalers(data, weight, pareto)
        self.theta = np.zeros(shape, np.float32)
        self.theta[..., -1] = loss.start(self.weight)
        memory = int(np.clip(_CHUNK // self.theta.size, 3, _MEMORY))
        self.steps = np.zeros((shape[0], memory, *shape[1:]), np.float32)
        self.changes = np.zeros_like(self.steps)
        self.pairs = np.zeros(shape[0], int)
        every = np.arange(shape[0])
        self.logits = self._product(self.theta, every)
        state, residual = loss.residual(self.logits, self.weight)
        self.curvature = self._curvature(state, every)
        self.loss_gradient = self._gradient(residual, every)

    def solve(self, C: float, tol: float, max_iter: int) -> Solution:
        """Minimise at C, from where the last C ended.

        A problem has converged when no component of its gradient, divided by C times its sum of
        weights, exceeds `tol`, as in scikit-learn's lbfgs. A start that is already so good is
        returned as it is. There are at most `max_iter` iterations.
        """
        iteration, converged = self._converge(C, tol, max_iter)
        if self.theta.shape[1] > 1:  # softmax does not see a common shift: fix its mean at 0
            shift = self.theta[..., -1].mean(axis=1, keepdims=True)
            self.theta[..., -1] -= shift
            self.logits -= shift[..., None]
        return self._point(C, iteration, converged)

    def _converge(self, C: float, tol: float, max_iter: int) -> tuple[int, np.ndarray]:
        """Do so, and return the number of iterations, and which problems converged (F,)."""
        ridge = (1 / (C * self.total)).astype(np.float32)
        self.logits = self.logits.copy()  # the last one was given away
        best, stale = np.full(len(ridge), np.inf), np.zeros(len(ridge), int)
        iteration = 0
        while True:
            gradient = self.loss_gradient + penalty(ridge, self.theta)
            size = np.abs(gradient).max(axis=(1, 2))
            stale = np.where(size < best, 0, stale + 1)
            best = np.minimum(best, size)
            active = np.flatnonzero((size > tol) & (stale < _PATIENCE))
            if not len(active) or iteration == max_iter:
                break
            iteration += 1
            self._advance(gradient[active], ridge[active], active)
        return iteration, np.less_equal(size, tol)

    def _advance(self, gradient: np.ndarray, ridge: np.ndarray, active: np.ndarray) -> None:
        """Take one step of L-BFGS in the active problems."""
        step = self._direction(gradient, ridge, active)
        change = self._product(step, active)
        length, state, residual = self._line_search(gradient, ridge, step, change, active)
        step *= length[:, None, None]
        change *= length[:, None, None]
        self.theta[active] += step
        self.logits[active] += change
        loss_gradient = self._gradient(residual, active)
        slot = self.pairs[active] % self.steps.shape[1]
        self.steps[active, slot] = step
        self.changes[active, slot] = loss_gradient - self.loss_gradient[active]
        self.pairs[active] += 1
        self.loss_gradient[active] = loss_gradient
        self.curvature[active] = self._curvature(state, active)

    def _product(self, theta: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Logits (A, K', N): with weights V = W / scale, they are Z V + (b - mean V)."""
        weights = theta[..., :-1] * self.inverse[active][:, None]
        offset = theta[..., -1] - np.einsum("fkd,fd->fk", weights, self.mean[active])
        # This order of the product is the fastest in OpenBLAS, the copy included.
        product = self.data.Z @ weights.reshape(-1, weights.shape[-1]).T
        logits = np.ascontiguousarray(product.T).reshape(*weights.shape[:2], -1)
        logits += offset[..., None]
        return logits

    def _gradient(self, residual: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Gradient of the mean loss (A, K', D + 1), the adjoint of `_product`."""
        gradient = np.empty((*residual.shape[:2], self.theta.shape[2]), np.float32)
        gradient[..., -1] = total = residual.sum(axis=-1)
        product = residual.reshape(-1, residual.shape[-1]) @ self.data.Z
        weights = product.reshape(*residual.shape[:2], -1)
        weights -= total[..., None] * self.mean[active][:, None]
        np.multiply(weights, self.inverse[active][:, None], out=gradient[..., :-1])
        return gradient

    def _curvature(self, state: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Mean second derivative of the loss by each logit (A, K'), never quite zero."""
        return np.maximum(self.loss.curvature(state, self.weight[active]), self.loss.flat)

    def _direction(self, gradient: np.ndarray, ridge: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Two-loop recursion of L-BFGS (A, K', D + 1), from the newest pair to the oldest."""
        direction, pairs, tape = -gradient, self.pairs[active], []
        memory = self.steps.shape[1]
        for age in range(1, min(memory, pairs.max()) + 1):
            slot = (pairs - age) % memory
            step = self.steps[active, slot]
            change = self.changes[active, slot] + penalty(ridge, step)
            bend = dot(step, change)
            usable = (age <= pairs) & (bend > 0)
            rho = np.divide(1, bend, out=np.zeros_like(bend), where=usable)
            alpha = rho * dot(step, direction)
            direction -= alpha[:, None, None] * change
            tape.append((step, change, rho, alpha))
        direction = self._preconditioned(direction, ridge, self.curvature[active])
        for step, change, rho, alpha in reversed(tape):
            direction += (alpha - rho * dot(change, direction))[:, None, None] * step
        return direction

    def _preconditioned(
        self, vector: np.ndarray, ridge: np.ndarray, curvature: np.ndarray
    ) -> np.ndarray:
        """Multiply by the inverse of h Z^T Z / N + ridge, h the curvature of each logit.

        Directions outside the leading eigenvectors count as the last of these: taking their mean
        instead needed more iterations. Problems share the eigenvectors of all rows, which changes
        the speed and never the solution.
        """
        vectors, values = self.data.vectors, self.data.values
        h, ridge = curvature[..., None], ridge[:, None, None]
        rest = 1 / (h * values[0] + ridge)
        flat = np.ascontiguousarray(vector[..., :-1]).reshape(-1, len(vectors))
        leading = (flat @ vectors) * (1 / (h * values + ridge) - rest).reshape(len(flat), -1)
        result = vector * rest
        result[..., :-1] += (leading @ vectors.T).reshape(*vector.shape[:2], -1)
        result[..., -1] = vector[..., -1] / curvature
        return result

    def _line_search(
        self,
        gradient: np.ndarray,
        ridge: np.ndarray,
        step: np.ndarray,
        change: np.ndarray,
        active: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Step lengths (A,), and the states and residuals of the loss (A, K', N) they lead to.

        The objective is convex, so its slope along the step grows with t. Its zero is found by
        Newton's method inside a bracket, to a share of the first slope.
        """
        length = np.ones(len(active), np.float32)
        low, high = np.zeros_like(length), np.full_like(length, np.inf)
        state, residual = np.empty_like(change), np.empty_like(change)
        enough = _SLOPE * np.abs(dot(gradient, step))
        pull = dot(penalty(ridge, self.theta[active]), step)
        stiffness = dot(penalty(ridge, step), step)
        todo = np.arange(len(active))
        for trial in range(_TRIALS):
            t, c, weight = length[todo], change[todo], self.weight[active[todo]]
            logits = self.logits[active[todo]] + t[:, None, None] * c
            s, r = self.loss.residual(logits, weight)
            state[todo], residual[todo] = s, r
            slope = (r * c).sum(axis=(1, 2)) + pull[todo] + t * stiffness[todo]
            far = np.abs(slope) > enough[todo]
            if trial == _TRIALS - 1 or not far.any():
                break
            todo, slope, t = todo[far], slope[far], t[far]
            low[todo] = np.where(slope < 0, t, low[todo])
            high[todo] = np.where(slope > 0, t, high[todo])
            bend = self.loss.bend(s[far], c[far], weight[far]) + stiffness[todo]
            length[todo] = _newton_or_bisect(t, slope, bend, low[todo], high[todo])
        return length, state, residual

    def _point(self, C: float, iterations: int, converged: np.ndarray) -> Solution:
        """Fold both scalings into the weights."""
        data = self.data
        coef = self.theta[..., :-1] * (self.inverse[:, None] / data.scale)
        centre = data.shift + data.scale * self.mean
        intercept = self.theta[..., -1] - np.einsum("fkd,fd->fk", coef, centre)
        return Solution(
            C,
            coef.transpose(0, 2, 1).astype(np.float32),
            intercept.astype(np.float32),
            self.logits.transpose(0, 2, 1),
            iterations,
            converged,
        )


def _newton_or_bisect(
    t: np.ndarray, slope: np.ndarray, bend: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Newton's next step length where it falls inside the bracket, else its middle or 2 t."""
    newton = t - slope / np.maximum(bend, np.finfo(np.float32).tiny)
    middle = np.where(np.isinf(high), 2 * t, (low + high) / 2)
    return np.where((newton > low) & (newton < high), newton, middle)


def penalty(ridge: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return the gradient of ridge / 2 ||W||^2: the intercept, last, is free."""
    gradient = ridge[:, None, None] * theta
    gradient[..., -1] = 0
    return gradient


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product (F,) of arrays (F, K', D + 1), a problem at a time."""
    return np.einsum("fkd,fkd->f", a, b)


def batches_of(
    data: SharedFeatures,
    loss: Loss,
    weight: np.ndarray,
    pareto: bool = True,
    floats: int = _CHUNK,
) -> list[Batch]:
    """Share problems out to batches whose arrays of logits have at most so many floats: 128 MB."""
    stride = max(1, floats // (max(data.Z.shape) * loss.columns))
    return [
        Batch(data, loss, weight[start : start + stride], pareto)
        for start in range(0, len(weight), stride)
    ]


def solve(batches: list[Batch], C: float, tol: float, max_iter: int) -> Solution:
    """Minimise ``C * sum_i weight_i * loss_i + ||W||^2 / 2`` for the problems of all batches.

    The intercept is unpenalised, and W is on features scaled by each problem's own rows, those with
    positive weight, each counted once. Each call starts from where the last one ended, so a path
    goes from the smallest C to the largest. See `Batch.solve`.
    """
    return _joined([batch.solve(C, tol, max_iter) for batch in batches])


def _joined(points: list[Solution]) -> Solution:
    if len(points) == 1:
        return points[0]
    return Solution(
        points[0].C,
        np.concatenate([p.coef for p in points]),
        np.concatenate([p.intercept for p in points]),
        np.concatenate([p.logits for p in points]),
        max(p.iterations for p in points),
        np.concatenate([p.converged for p in points]),
    )
