"""What heads with a solution in closed form share: scaled rows, spectra, one thread a problem.

All see features z, centred and scaled by a problem's own rows (see `tlx.classify.heads.scaling`).
Ridge and discriminant analysis invert S + alpha I for a matrix S of each problem and every alpha of
the grid: one eigendecomposition S = V L V^T a problem gives them all, as (S + alpha I)^-1 = V (L +
alpha)^-1 V^T. With fewer rows than features the same is done with the Gram matrix of the rows.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ..large import is_large
from .head import GridPoint, PredictorPoint, Problems
from .linear import LinearPredictor, row_blocks
from .scaling import fit_scaling
from .sums import ScaledSums, sum_problems
from .together import HeldOut, TogetherPoint

_MOST_LEFT_OUT = 1000  # rows of a group that are left out at once
_BLOCK = 2048  # rows of a block of groups, if one group is not more


@dataclass(frozen=True)
class ScaledRows:
    """The n rows of a problem, scaled in place."""

    Z: np.ndarray  # (n, D) float32
    y: np.ndarray
    weight: np.ndarray  # (n,) float64
    groups: np.ndarray
    C: int
    mean: np.ndarray  # (D,) float64
    inverse: np.ndarray  # (D,) float64, of the scale; 0 if the feature is constant

    @classmethod
    def of(
        cls, X: np.ndarray, y: np.ndarray, weight: np.ndarray, groups: np.ndarray, C: int
    ) -> ScaledRows:
        """Scale rows X (n, D), which may be written to."""
        Z = X.astype(np.float32, copy=False)  # a copy already: rows were picked by their numbers
        mean, scale = fit_scaling(Z)
        inverse = 1 / scale
        for rows in row_blocks(Z):
            Z[rows] = (Z[rows] - mean) * inverse
        return cls(Z, y, weight, groups, C, mean, inverse)

    def raw(self, coef: np.ndarray, bias: np.ndarray) -> LinearPredictor:
        """Fold the scaling into weights (D, C) and biases (C,) of scaled features."""
        folded = coef * self.inverse[:, None]
        offset = bias - self.mean @ folded
        head = LinearPredictor(folded.astype(np.float32), offset.astype(np.float32))
        return head.without(np.bincount(self.y, minlength=self.C) == 0)

    @property
    def total(self) -> float:
        """Sum of the weights."""
        return float(self.weight.sum())

    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the share (C,) of each class in the weights, and the mean (C, D) of its z."""
        member = np.eye(self.C)[self.y] * self.weight[:, None]
        total = member.sum(axis=0)
        mean = (member / np.where(total > 0, total, 1)).T.astype(np.float32) @ self.Z
        return total / total.sum(), mean.astype(np.float64)


Part = ScaledRows | ScaledSums  # what a problem is solved from
# Yields the weights (D, C) and biases (C,) on scaled features for each value of the grid.
Solve = Callable[[Part, Sequence[float]], Iterator[tuple[np.ndarray, np.ndarray]]]


def fit_closed_form(
    solve: Solve,
    problems: Problems,
    grid: Mapping[str, Sequence[float]],
    *,
    products: bool = True,
) -> Iterator[GridPoint]:
    """Solve every problem for the whole grid of one parameter; yield from its largest value.

    Many rows are read once, for all problems together, and come as `ScaledSums`, with `products`
    of features or without.
    """
    from threadpoolctl import threadpool_limits

    ((name, given),) = grid.items()
    values = sorted(map(float, given), reverse=True)
    X = problems.X
    makers: list[Callable[[], Part]]
    if is_large(X):
        makers = list(sum_problems(problems, products, problems.seed))
    else:
        makers = [functools.partial(_scaled_rows, problems, weight) for weight in problems.weights]

    def one(make: Callable[[], Part]) -> list[LinearPredictor]:
        part = make()
        return [part.raw(coef, bias) for coef, bias in solve(part, values)]

    # Eigendecompositions do not profit from the threads of BLAS (on a busy machine they take ten
    # times as long with them): one thread a problem instead. Each holds a copy of its rows, so
    # there are two at a time, and no more than there are processors.
    workers = min(2, os.cpu_count() or 1, len(problems.weights))
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        heads = []
        for found in pool.map(one, makers):
            heads.append(found)
            problems.progress(len(heads), len(problems.weights))
    if is_large(X):
        together = HeldOut(X, heads)
        yield from (TogetherPoint({name: v}, together, i) for i, v in enumerate(values))
        return
    for i, value in enumerate(values):
        yield PredictorPoint({name: value}, X, [found[i] for found in heads])


def _scaled_rows(problems: Problems, weight: np.ndarray) -> ScaledRows:
    """Return a scaled copy of the rows of a problem."""
    X, y, groups, C = problems.X, problems.y, problems.groups, problems.n_classes
    rows = np.flatnonzero(weight > 0)
    return ScaledRows.of(X[rows], y[rows], weight[rows].astype(np.float64), groups[rows], C)


def spectrum(A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (r,) and eigenvectors (r, r) of the smaller of A A^T and A^T A."""
    from scipy.linalg import get_blas_funcs

    # One triangle is half of the work, and all that the eigenvalues are taken from.
    (syrk,) = get_blas_funcs(("syrk",), (A,))
    return spectrum_of(syrk(1.0, A.T, trans=len(A) < A.shape[1], lower=1))


def spectrum_of(product: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues (r,) and eigenvectors (r, r) of a symmetric matrix, or its lower half."""
    from scipy.linalg import eigh

    product = np.asarray(product, np.float32)
    # In single precision SciPy takes half the time of NumPy, and the product's rounding is all that
    # shows: solutions are within 1e-4 of exact ones, in double precision as well.
    values, vectors = eigh(product, driver="evd", overwrite_a=True, check_finite=False)
    return np.maximum(values, 0).astype(np.float64), vectors.astype(np.float64)


def group_blocks(groups: np.ndarray) -> list[np.ndarray]:
    """Return the rows of groups, some groups of one size at a time, to be left out together.

    Parameters
    ----------
    groups : ndarray of shape (n,), int

    Returns
    -------
    list of ndarray of shape (g, m), int
        Row by row the m rows of g groups. Groups of more than 1,000 rows are missing.

    Examples
    --------
    >>> [block.tolist() for block in group_blocks(np.array([7, 3, 7, 5]))]
    [[[1], [3]], [[0, 2]]]
    """
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    starts = np.cumsum(size) - size
    blocks = []
    for m in np.unique(size[size <= _MOST_LEFT_OUT]):
        rows = order[starts[size == m][:, None] + np.arange(m)]
        blocks += np.array_split(rows, -(-rows.size // _BLOCK))
    return blocks


def residuals_left_out(
    residual: np.ndarray,
    blocks: list[np.ndarray],
    basis: np.ndarray,
    squares: np.ndarray,
    gain: np.ndarray,
    constant: np.ndarray,
) -> np.ndarray:
    """Return what the residuals (n, K) of least squares are for a row had its group been left out.

    With the hat matrix H = basis diag(gain) basis^T + constant constant^T and residuals r these are
    (I - H_SS)^-1 r_S for the rows S of a group, so they cost no further fit.

    Parameters
    ----------
    residual : ndarray of shape (n, K)
    blocks : list of ndarray of shape (g, m), int
        Of `group_blocks`; a row in none of them is left out alone.
    basis, squares : ndarray of shape (n, r)
        `squares` are those of `basis`.
    gain : ndarray of shape (r,)
    constant : ndarray of shape (n,)
        What the free bias adds.
    """
    leverage = squares @ gain + constant**2
    out = residual / np.maximum(1 - leverage, 1e-6)[:, None]
    for S in blocks:
        m = S.shape[1]
        if m > 1:
            H = (basis[S] * gain) @ basis[S].swapaxes(1, 2)
            H += constant[S][:, :, None] * constant[S][:, None]
            out[S] = np.linalg.solve((1 + 1e-6) * np.eye(m) - H, residual[S])
    return out
