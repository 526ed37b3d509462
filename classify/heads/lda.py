"""Linear discriminant analysis, its covariance shrunk towards a multiple of the identity."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from .closed_form import ScaledRows, fit_closed_form, spectrum
from .head import CLASS_WEIGHT, Head, Option
from .linear import LinearPredictor


def _lda(part: ScaledRows, shrinkages: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights and biases of discriminant analysis, its covariance shrunk towards m I.

    With class means mu_k, shares p_k and the covariance S within classes, m = trace(S) / D, the
    logits are those of `sklearn.discriminant_analysis.LinearDiscriminantAnalysis`:
    W_k = ((1 - s) S + s m I)^-1 mu_k and b_k = log p_k - mu_k W_k / 2.
    """
    share, mean = part.classes()
    A = part.Z
    A -= mean[part.y].astype(np.float32)
    A *= np.sqrt(part.weight / part.weight.sum())[:, None].astype(np.float32)
    level = float(np.einsum("nd,nd->", A, A, dtype=np.float64)) / A.shape[1]
    if level == 0:  # one image a class: nothing is known of the spread, so it counts as even
        level = 1.0
    values, vectors = spectrum(A)
    dual = len(A) < A.shape[1]
    projected = vectors.T @ (A @ mean.T.astype(np.float32)) if dual else vectors.T @ mean.T
    prior = np.log(np.where(share > 0, share, 1))
    for s in shrinkages:
        low, ridge = (1 - s), s * level
        if low == 0:
            W = mean.T / ridge
        elif (
            dual
        ):  # Woodbury: (low A^T A + ridge I)^-1 = (I - A^T (A A^T + ridge / low I)^-1 A) / ridge
            solution = vectors @ (projected / (values + ridge / low)[:, None])
            W = (mean.T - A.T @ solution.astype(np.float32)) / ridge
        else:
            W = vectors @ (projected / (low * values + ridge)[:, None])
        yield W, prior - np.einsum("kd,dk->k", mean, W) / 2


HEAD = Head(
    name="lda",
    help="linear discriminant analysis",
    estimator="LDAHead",
    notes=(
        "Logits and probabilities are those of "
        '`sklearn.discriminant_analysis.LinearDiscriminantAnalysis` with ``solver="lsqr"`` '
        "and the same shrinkage, on features scaled alike. Shrinkage goes from 0 (the "
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
    cost=4,
)
