"""Ridge classification: least squares on targets of -1 and 1, one class against the rest."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from .closed_form import (
    ScaledRows,
    fit_closed_form,
    group_blocks,
    residuals_left_out,
    spectrum,
)
from .head import CLASS_WEIGHT, Head, strength
from .inner import fit_scale
from .linear import LinearPredictor, both_logits


def _ridge(part: ScaledRows, alphas: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights and biases of one-against-rest least squares on targets of -1 and 1.

    It minimises sum_i w_i (t_i - f_i)^2 + alpha |W|^2, the bias free, as
    `sklearn.linear_model.RidgeClassifier`. Probabilities are softmax(a f), for two classes the
    sigmoid of a f, with the factor a of `tlx.classify.heads.inner.fit_scale` on the values that
    each row
    would get without its group. With residuals r = t - f and the hat matrix H, f = H t, these are
    t_S - (I - H_SS)^-1 r_S for the rows S of a group, so they cost no further fit. (The scaling of
    the features is not redone without them.) Groups of more than 1,000 rows are not left out.
    """
    columns = [1] if part.C == 2 else list(range(part.C))
    target = np.where(part.y[:, None] == columns, 1.0, -1.0)  # (n, K')
    total = part.weight.sum()
    centre, level = part.weight @ part.Z / total, part.weight @ target / total
    root = np.sqrt(part.weight)
    A = part.Z
    A -= centre.astype(np.float32)
    A *= root[:, None].astype(np.float32)
    T = root[:, None] * (target - level)
    values, vectors = spectrum(A)
    dual = len(A) < A.shape[1]
    basis = vectors if dual else A @ vectors.astype(np.float32)  # H = basis gain basis^T
    projected = basis.T @ T  # (r, K')
    squares = np.square(basis)
    blocks = group_blocks(part.groups)
    for alpha in alphas:
        gain = (values if dual else 1) / (values + alpha)
        solution = vectors @ (projected / (values + alpha)[:, None])
        W = A.T @ solution.astype(np.float32) if dual else solution
        fitted = basis @ (gain[:, None] * projected)
        held, rows = _left_out(part, blocks, T, fitted, basis, squares, gain, root)
        scale = fit_scale(both_logits(held + level), part.y[rows], part.weight[rows])
        yield both_logits(scale * W), both_logits(scale * (level - centre @ W)[None])[0]


def _left_out(
    part: ScaledRows,
    blocks: list[np.ndarray],
    T: np.ndarray,
    fitted: np.ndarray,
    basis: np.ndarray,
    squares: np.ndarray,
    gain: np.ndarray,
    root: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return decision values (m, K'), less their level, of rows had their group been left out."""
    constant = root / np.sqrt(part.weight.sum())  # the free bias adds its outer product to H
    out = residuals_left_out(T - fitted, blocks, basis, squares, gain, constant)
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
    cost=10,
)
