"""Linear discriminant analysis, its covariance shrunk towards a multiple of the identity."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from .closed_form import (
    Part,
    ScaledRows,
    fit_closed_form,
    group_blocks,
    spectrum,
    spectrum_of,
)
from .head import CLASS_WEIGHT, Head, Option
from .inner import fit_scale
from .linear import LinearPredictor


def _lda(part: Part, shrinkages: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights and biases of discriminant analysis, its covariance shrunk towards m I.

    With class means mu_k, shares p_k and the covariance S within classes, m = trace(S) / D, the
    logits are those of `sklearn.discriminant_analysis.LinearDiscriminantAnalysis`:
    W_k = Q mu_k and b_k = log p_k - mu_k W_k / 2 with Q = ((1 - s) S + s m I)^-1. All are
    multiplied by the factor of `tlx.classify.heads.inner.fit_scale` on the logits that each row
    would get without its group: few images make the spread within classes look too small.
    """
    share, mean = part.classes()
    root = np.sqrt(part.weight / part.total)
    A = part.Z
    A -= mean[part.y].astype(np.float32)
    A *= root[:, None].astype(np.float32)
    if isinstance(part, ScaledRows):
        values, vectors = spectrum(A)
        trace = float(np.einsum("nd,nd->", A, A, dtype=np.float64))
        dual = len(A) < A.shape[1]
    else:
        within = part.product / part.total - (share[:, None] * mean).T @ mean
        values, vectors = spectrum_of(within)
        trace, dual = float(np.trace(within)), False
    # One image a class: nothing is known of the spread, so it counts as even.
    level = trace / A.shape[1] or 1.0
    basis = vectors.astype(np.float32)
    basis = basis if dual else A @ basis  # (n, r)
    projected = vectors.T @ (A @ mean.T.astype(np.float32) if dual else mean.T)  # (r, C)
    between = mean @ mean.T
    prior = np.log(np.where(share > 0, share, 1))
    spread = values if dual else np.ones_like(values)
    left_out = _LeftOut(part, share, root, basis, spread, level * A.shape[1])
    scale = 0.0
    for s in shrinkages:
        # S = A^T A. With fewer rows than features Q comes from the Gram matrix (Woodbury):
        # (low A^T A + ridge I)^-1 = (I - low A^T (low A A^T + ridge I)^-1 A) / ridge.
        low, ridge = 1 - s, s * level
        solution = projected / (low * values + ridge)[:, None]
        if dual:
            W = (mean.T - low * (A.T @ (basis @ solution.astype(np.float32)))) / ridge
        else:
            W = vectors @ solution
        # The same for the rows left out: products by Q of the rows of A and the means.
        ridge *= left_out.level
        gain = 1 / (low * values + ridge)
        solution = projected * gain[:, None]
        means = projected.T @ solution
        if dual:
            means = (between - low * means) / ridge
        logits = left_out.logits(low, gain, basis @ solution.astype(np.float32), means)
        scale = fit_scale(logits, left_out.y, left_out.weight, scale)
        yield scale * W, scale * (prior - np.einsum("kd,dk->k", mean, W) / 2)


class _LeftOut:
    """The logits that rows would get had their group been left out, without another fit.

    Row i has the weight w_i of a sum of 1, and a_i = sqrt(w_i) (z_i - mu_k), k its class. Without
    the rows i of a group, class k has the share p'_k, and its mean is mu_k - sum_i E_ik a_i with
    E_ik = sqrt(w_i) / p'_k if i is of the class, else 0. S loses sum_ij B_ij a_i a_j^T with
    B = I + E diag(p') E^T, and Woodbury's identity gives its inverse. So products by Q of the a_i
    and the means are all that is needed. One thing is not exact: the trace of S falls by the mean
    of all groups instead of each one's own part. Groups that hold all of a class, or more than
    1,000 rows, are not left out.
    """

    def __init__(
        self,
        part: Part,
        share: np.ndarray,
        root: np.ndarray,
        basis: np.ndarray,
        spread: np.ndarray,
        trace: float,
    ) -> None:
        self.present = np.flatnonzero(share)
        share = share[self.present]
        y = np.searchsorted(self.present, part.y)
        self.spread = spread.astype(np.float32)  # A A^T = basis diag(spread) basis^T
        self.blocks, fall = [], []
        for S in group_blocks(part.groups):
            r = root[S]
            mine = r[..., None] * (y[S][..., None] == np.arange(len(share)))  # (g, m, C)
            left = share - (r[..., None] * mine).sum(axis=1)
            some = (left > 1e-9).all(axis=1)
            if some.any():
                S, r, mine, left = S[some], r[some], mine[some], left[some]
                E = mine / left[:, None]
                B = np.eye(S.shape[1]) + mine @ E.swapaxes(1, 2)
                V = basis[S]  # (g, m, r), squared if it is all that is needed
                V = np.square(V) if S.shape[1] == 1 else V
                fall.append((B * _products(V, self.spread)).sum(axis=(1, 2)))
                self.blocks.append((S, y[S], r, left, E, B, V))
        every = [np.empty(0, int), *[block[0].ravel() for block in self.blocks]]
        self.rows = np.sort(np.concatenate(every))
        self.y, self.weight = y[self.rows], part.weight[self.rows]
        self.level = 1.0  # of the trace of S, what it is on average without a group
        if fall:
            self.level = max(1 - float(np.mean(np.concatenate(fall))) / trace, 0.1)

    def logits(
        self, low: float, gain: np.ndarray, among: np.ndarray, means: np.ndarray
    ) -> np.ndarray:
        """Return logits of `rows`, but for a constant a row, for the classes that are present.

        `gain` is the spectrum of Q; `among` has the products (n, C) of the a_i and the means by Q,
        `means` (C, C) those of the means.
        """
        among, means = among[:, self.present], means[np.ix_(self.present, self.present)]
        out = np.empty(among.shape)
        gain = (self.spread * gain).astype(np.float32)
        for S, y, r, left, E, B, V in self.blocks:
            H, G = _products(V, gain), among[S]  # a_l Q a_i, a_l Q mu_k
            own = np.take_along_axis(G, y[:, None], axis=2)  # a_l Q mu_k of the class of i
            N = G - H @ E  # a_l Q mu_k'
            Z = own + H / r[:, None]  # a_l Q z_i
            GE = own.swapaxes(1, 2) @ E
            inner = means[y] - GE + N / r[..., None]  # z_i Q mu_k'
            square = np.diag(means) - ((G + N) * E).sum(axis=1)  # mu_k' Q mu_k'
            rest = np.eye(S.shape[1]) - low * B @ H
            K = B @ N / rest if S.shape[1] == 1 else np.linalg.solve(rest, B @ N)
            inner += low * (Z.swapaxes(1, 2) @ K)
            square += low * (N * K).sum(axis=1)
            logits = inner - square[:, None] / 2
            out[S] = left.sum(axis=1)[:, None, None] * logits + np.log(left)[:, None]
        return out[self.rows]


def _products(V: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return V diag(gain) V^T (g, m, m) of each group; of single rows V is squared already."""
    return (V @ gain)[..., None] if V.shape[1] == 1 else (V * gain) @ V.swapaxes(1, 2)


HEAD = Head(
    name="lda",
    help="linear discriminant analysis",
    estimator="LDAHead",
    notes=(
        "The decision is that of "
        '`sklearn.discriminant_analysis.LinearDiscriminantAnalysis` with ``solver="lsqr"`` '
        "and the same shrinkage, on features scaled alike. Its logits are multiplied by a factor, "
        "fitted on the logits that rows would get without their group. Shrinkage goes from 0 (the "
        "covariance as it is, which must then be invertible) to 1 (the identity). Balanced "
        "weights are uniform priors."
    ),
    fit=functools.partial(fit_closed_form, _lda),
    predictors=(LinearPredictor,),
    options=(
        Option(
            "shrinkage",
            "How far the covariance is drawn towards the identity",
            float,
            0.5,
            grid=(0.99, 0.95, 0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001),
            fits=lambda value: 0 <= value <= 1,
            allowed="0 to 1, such as 0.5",
        ),
        CLASS_WEIGHT,
    ),
    seeds=True,
    many="sums",
    cost=4,
)
