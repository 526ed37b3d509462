"""Ridge classification: least squares on targets of -1 and 1, one class against the rest."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .closed_form import (
    Part,
    ScaledRows,
    fit_closed_form,
    group_blocks,
    residuals_left_out,
    spectrum,
    spectrum_of,
)
from .head import CLASS_WEIGHT, Head, strength
from .inner import fit_scale
from .linear import LinearPredictor, both_logits
from .sums import ScaledSums


def _ridge(part: Part, alphas: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights and biases of one-against-rest least squares on targets of -1 and 1.

    It minimises sum_i w_i (t_i - f_i)^2 + alpha |W|^2, the bias free, as
    `sklearn.linear_model.RidgeClassifier`. Probabilities are softmax(a f), for two classes the
    sigmoid of a f, with the factor a of `tlx.classify.heads.inner.fit_scale` on the values that
    each row would get without its group. With residuals r = t - f and the hat matrix H, f = H t,
    these are t_S - (I - H_SS)^-1 r_S for the rows S of a group, so they cost no further fit. (The
    scaling of the features is not redone without them.) Groups of more than 1,000 rows are not left
    out.
    """
    columns = [1] if part.C == 2 else list(range(part.C))
    target = np.where(part.y[:, None] == columns, 1.0, -1.0)
    if isinstance(part, ScaledRows):
        found = _of_rows(part, target)
    else:
        found = _of_sums(part, target, columns)
    squares = np.square(found.basis)
    blocks = group_blocks(part.groups)
    for alpha in alphas:
        gain = (1 if found.A is None else found.values) / (found.values + alpha)
        solution = found.vectors @ (found.projected / (found.values + alpha)[:, None])
        W = solution if found.A is None else found.A.T @ solution.astype(np.float32)
        fitted = found.basis @ (gain[:, None] * found.projected)
        held, rows = _left_out(part, blocks, found, fitted, squares, gain)
        scale = fit_scale(both_logits(held + found.level), part.y[rows], part.weight[rows])
        bias = scale * (found.level - found.centre @ W)[None]
        yield both_logits(scale * W), both_logits(bias)[0]


@dataclass(frozen=True)
class _LeastSquares:
    """The normal equations of the rows A = root (z - centre) and targets T, by their spectrum.

    Of many rows, `T`, `root` and `basis` are those of the sample.
    """

    centre: np.ndarray  # (D,)
    level: np.ndarray  # (K',) mean targets
    T: np.ndarray  # (n, K')
    root: np.ndarray  # (n,) of the weights
    values: np.ndarray  # (r,)
    vectors: np.ndarray
    basis: np.ndarray  # (n, r): H = basis gain basis^T
    projected: np.ndarray  # (r, K')
    A: np.ndarray | None  # (n, D), if there are fewer rows than features


def _of_rows(part: ScaledRows, target: np.ndarray) -> _LeastSquares:
    total = part.weight.sum()
    centre, level = part.weight @ part.Z / total, part.weight @ target / total
    root = np.sqrt(part.weight)
    A = part.Z
    A -= centre.astype(np.float32)
    A *= root[:, None].astype(np.float32)
    T = root[:, None] * (target - level)
    values, vectors = spectrum(A)
    dual = len(A) < A.shape[1]
    basis = vectors if dual else A @ vectors.astype(np.float32)
    projected = basis.T @ T
    return _LeastSquares(
        centre, level, T, root, values, vectors, basis, projected, A if dual else None
    )


def _of_sums(part: ScaledSums, target: np.ndarray, columns: list[int]) -> _LeastSquares:
    sums = part.class_weight[:, None] * part.class_mean  # (C, D)
    of_class = np.where(np.arange(part.C)[:, None] == columns, 1.0, -1.0)  # (C, K')
    centre, level = sums.sum(axis=0) / part.total, part.class_weight @ of_class / part.total
    root = np.sqrt(part.weight)
    A = (part.Z - centre.astype(np.float32)) * root[:, None].astype(np.float32)
    T = root[:, None] * (target - level)
    values, vectors = spectrum_of(part.product - part.total * np.outer(centre, centre))
    projected = vectors.T @ (sums.T @ of_class - part.total * np.outer(centre, level))
    basis = A @ vectors.astype(np.float32)
    return _LeastSquares(centre, level, T, root, values, vectors, basis, projected, None)


def _left_out(
    part: Part,
    blocks: list[np.ndarray],
    found: _LeastSquares,
    fitted: np.ndarray,
    squares: np.ndarray,
    gain: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return decision values (m, K'), less their level, of rows had their group been left out."""
    T, root = found.T, found.root
    constant = root / np.sqrt(part.total)  # the free bias adds its outer product to H
    out = residuals_left_out(T - fitted, blocks, found.basis, squares, gain, constant)
    rows = np.sort(np.concatenate([np.empty(0, int), *map(np.ravel, blocks)]))
    return ((T - out)[rows] / root[rows, None]), rows


HEAD = Head(
    name="ridge",
    help="least squares with an L2 penalty",
    estimator="RidgeHead",
    notes=(
        "On targets of -1 and 1, one class against the rest. The decision is that of "
        "`sklearn.linear_model.RidgeClassifier`. Its values times a factor are the logits; "
        "the factor is fitted on the values that rows would get without their group."
    ),
    fit=functools.partial(fit_closed_form, _ridge),
    predictors=(LinearPredictor,),
    options=(
        # Against eigenvalues of Z^T Z, whose mean is N and whose largest is nearly N D.
        strength("alpha", "Strength of the penalty", 1e3, np.logspace(6, 0, 13)),
        CLASS_WEIGHT,
    ),
    seeds=True,
    many="sums",
    cost=10,
)
