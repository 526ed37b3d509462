"""What heads with a solution in closed form need of many rows: sums over them, from one pass.

Counts, sums and products of features are taken block by block, for all problems at once. Rows that
the same problems learn from form a cell, each with sums of its own, and those of a problem are the
sum over its cells: a row of five folds is multiplied once. Only where rows weigh more or less is it
done once a problem. A sample of rows is kept, from which it is found how sure a head may be of rows
that it has not seen.

Products are in single precision within a block, around the mean of a sample, and in double
precision between blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...errors import FitError
from .. import large
from .head import Problems
from .linear import LinearPredictor
from .scaling import pareto_scale

_LEFT_OUT = 16_384  # rows that are predicted as if their group had been left out
_SAMPLE = 2**25  # numbers in them, at most: 128 MB
_CANCELLED = 1e-6  # of the mean square: a variance below it is rounding, and the feature constant


@dataclass(frozen=True)
class ScaledSums:
    """What n rows of a problem come to, scaled, and a sample of m of them.

    Attributes
    ----------
    Z : ndarray of shape (m, D), float32
        The sample, scaled.
    y, weight, groups : ndarray of shape (m,)
        Of the sample.
    C : int
    mean, inverse : ndarray of shape (D,), float64
        Of all n rows: what is subtracted, and then multiplied by.
    total : float
        Sum of all n weights.
    class_weight : ndarray of shape (C,), float64
    class_mean : ndarray of shape (C, D), float64
        Of scaled features; 0 for a class that is not there.
    product : ndarray of shape (D, D), float64
        Weighted sum of z z^T; empty unless it was asked for.
    """

    Z: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    groups: np.ndarray
    C: int
    mean: np.ndarray
    inverse: np.ndarray
    total: float
    class_weight: np.ndarray
    class_mean: np.ndarray
    product: np.ndarray

    def raw(self, coef: np.ndarray, bias: np.ndarray) -> LinearPredictor:
        """Fold the scaling into weights (D, C) and biases (C,) of scaled features."""
        folded = coef * self.inverse[:, None]
        offset = bias - self.mean @ folded
        head = LinearPredictor(folded.astype(np.float32), offset.astype(np.float32))
        return head.without(self.class_weight == 0)

    def classes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the share (C,) of each class in the weights, and the mean (C, D) of its z."""
        return self.class_weight / self.total, self.class_mean


class _Cell:
    """Sums over rows that the same problems learn from, about a common shift."""

    def __init__(self, C: int, D: int, product: bool) -> None:
        self.n = 0
        self.sum, self.square = np.zeros(D), np.zeros(D)
        self.class_weight, self.class_sum = np.zeros(C), np.zeros((C, D))
        self.product = np.zeros((D, D) if product else (0, 0))

    def add(self, Z: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Take in rows Z (n, D) float32; without weights each weighs 1."""
        C = len(self.class_weight)
        member = np.eye(C, dtype=np.float32)[y]
        self.n += len(Z)
        self.square += np.einsum("nd,nd->d", Z, Z)
        sums = (member.T @ Z).astype(np.float64)
        self.sum += sums.sum(axis=0)
        if weight is not None:
            member *= weight[:, None].astype(np.float32)
            sums = (member.T @ Z).astype(np.float64)
        self.class_weight += np.bincount(y, weight, minlength=C)
        self.class_sum += sums
        if self.product.size:
            A = Z if weight is None else Z * np.sqrt(weight)[:, None].astype(np.float32)
            self.product += A.T @ A

    def __iadd__(self, other: _Cell) -> _Cell:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self


def sum_problems(
    problems: Problems, product: bool, seed: int = 0
) -> list[Callable[[], ScaledSums]]:
    """Read all rows once, and return for each problem what makes its sums when they are needed.

    Parameters
    ----------
    problems : Problems
    product : bool
        Whether products of features are needed.
    seed : int, default=0
        Of the sample.

    Raises
    ------
    FitError
        If a feature is not finite.
    """
    X, y, weights, C = problems.X, problems.y, problems.weights, problems.n_classes
    D = X.shape[1]
    learned = np.flatnonzero(weights.any(axis=0))
    most = max(1, min(_LEFT_OUT, _SAMPLE // D))
    sample = large.draw_rows(learned, problems.groups, most, seed)
    kept = np.empty((len(sample), D), np.float32)
    some = X[sample[:: -(-len(sample) // 2048)]]
    shift = some.mean(axis=0, dtype=np.float64).astype(np.float32)
    plain = bool(np.isin(weights, (0, 1)).all())
    cell_of, cells_of = _cells(weights) if plain else (np.zeros(0), [])
    cells = [_Cell(C, D, product) for _ in range(int(cell_of.max()) + 1 if plain else len(weights))]
    for rows in large.blocks_of(*X.shape):
        if not weights[:, rows].any():
            continue
        with np.errstate(all="ignore"):  # what is not finite is told at the end
            Z = X[rows] - shift
            if plain:
                for number in np.unique(cell_of[rows]):
                    mine = np.flatnonzero(cell_of[rows] == number)
                    part = Z if len(mine) == len(Z) else Z[mine]
                    cells[number].add(part, y[rows][mine], None)
            else:
                for cell, weight in zip(cells, weights[:, rows], strict=True):
                    mine = np.flatnonzero(weight > 0)
                    cell.add(Z[mine], y[rows][mine], weight[mine])
        here = slice(*np.searchsorted(sample, (rows.start, rows.stop)))
        kept[here] = Z[sample[here] - rows.start]
        problems.progress(rows.stop, len(X))
    wrong = [cell for cell in cells if not np.isfinite(cell.square).all()]
    if wrong:
        raise FitError(
            f"feature {np.flatnonzero(~np.isfinite(wrong[0].square))[0]} is not finite in some "
            "row.",
            "Remove the rows whose features are NaN or infinite.",
        )

    def maker(problem: int) -> Callable[[], ScaledSums]:
        def make() -> ScaledSums:
            whole = _Cell(C, D, product)
            for number in cells_of[problem] if plain else [problem]:
                whole += cells[number]
            mine = np.flatnonzero(weights[problem][sample] > 0)
            rows = sample[mine]
            some = kept[mine], y[rows], weights[problem][rows], problems.groups[rows]
            return _scaled(whole, shift, some)

        return make

    return [maker(problem) for problem in range(len(weights))]


def _cells(weights: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """Return the cell (N,) of each row, and the cells of each problem.

    A row that no problem learns from has a cell as well, which is in none of them.
    """
    patterns = np.packbits(weights > 0, axis=0)  # (bytes, N)
    whole = np.ascontiguousarray(patterns.T).view(f"V{len(patterns)}").ravel()
    _, first, cell = np.unique(whole, return_index=True, return_inverse=True)
    learned = weights[:, first] > 0  # (F, cells)
    return cell.ravel(), [np.flatnonzero(row).tolist() for row in learned]


def _scaled(
    cell: _Cell,
    shift: np.ndarray,
    sample: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> ScaledSums:
    """Turn sums about a shift into those of features centred and scaled by their own rows."""
    kept, y, weight, groups = sample
    C = len(cell.class_weight)
    total = float(cell.class_weight.sum())
    offset = cell.sum / cell.n  # of the mean from the shift
    square = cell.square / cell.n
    variance = square - offset**2
    variance[variance < _CANCELLED * square] = 0
    inverse = 1 / pareto_scale(np.sqrt(variance))
    class_sum = (cell.class_sum - cell.class_weight[:, None] * offset) * inverse
    product = cell.product
    if product.size:
        sums = cell.class_sum.sum(axis=0)
        cross = np.outer(sums, offset)
        product = product - cross - cross.T + total * np.outer(offset, offset)
        product *= inverse[:, None] * inverse
    there = np.where(cell.class_weight > 0, cell.class_weight, 1)
    Z = ((kept - offset) * inverse).astype(np.float32)
    mean = shift + offset
    means = class_sum / there[:, None]
    weight = weight.astype(np.float64)
    return ScaledSums(
        Z, y, weight, groups, C, mean, inverse, total, cell.class_weight, means, product
    )
