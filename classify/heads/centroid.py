"""The nearest class mean."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from .closed_form import Part, fit_closed_form
from .head import Head, strength
from .linear import LinearPredictor


def _centroid(part: Part, temperatures: Sequence[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights and biases of logits -|z - mu_k|^2 / (2 D temperature), but for |z|^2."""
    _, mean = part.classes()
    distance = -np.einsum("kd,kd->k", mean, mean) / 2
    for temperature in temperatures:
        scale = 1 / (temperature * mean.shape[1])
        yield scale * mean.T, scale * distance


HEAD = Head(
    name="centroid",
    help="the nearest class mean",
    estimator="CentroidHead",
    notes=(
        "Logits are -|z - mean|^2 / (2 D temperature) of scaled features z, with no priors. "
        "The temperature changes probabilities, not decisions."
    ),
    fit=functools.partial(fit_closed_form, _centroid, products=False),
    predictors=(LinearPredictor,),
    options=(
        # In units of D: of D equal features the squared distance is D times that of one.
        strength(
            "temperature",
            "How soft the probabilities are",
            0.02,
            np.logspace(0, -3, 10),
        ),
    ),
    seeds=True,
    learns_prior=False,
    many="sums",
    cost=1,
)
