"""What twice the images would bring: a power law through measured errors, and a bound of the gain.

References
----------
.. [1] C. Cortes, L. D. Jackel, S. A. Solla, V. Vapnik, J. S. Denker (1993), Learning curves:
   asymptotic values and rate of convergence, NeurIPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .intervals import Metric, Z, standard_error, variance_of_folds

_EXPONENTS = np.linspace(0.05, 2, 40)
_RESAMPLES = 1000
_ENOUGH = 4  # sizes that a curve of three parameters needs at least


@dataclass(frozen=True)
class Doubled:
    """What twice the images would bring, if the error goes on falling by a power law.

    Attributes
    ----------
    per_class : float
        Training images a class.
    accuracy : Metric
    gain : Metric
        Its difference from what the curve says of all images now.
    floor, scale, exponent : float
        The error is ``floor + scale * n ** -exponent`` of n images a class.
    """

    per_class: float
    accuracy: Metric
    gain: Metric
    floor: float
    scale: float
    exponent: float

    def at(self, per_class: np.ndarray) -> np.ndarray:
        """Return the accuracy that the curve has at so many training images a class."""
        return 1 - self.floor - self.scale * np.asarray(per_class, float) ** -self.exponent


def extrapolate(
    per_class: Sequence[float],
    right: Sequence[np.ndarray],
    groups: np.ndarray,
    now: Metric,
    seed: int,
    n_folds: int = 1,
) -> tuple[Doubled | None, str]:
    """Fit the error's power law [1]_ and read it at twice the images, or say why it cannot be.

    The interval of the accuracy comes from fits to resamples of the repeats and of the groups of
    held-out images, the same images for all sizes: neighbouring points go up and down together.
    That of the gain is the measured one of the last doubling (see `gain_of_doubling`): what the
    fitted curves have for it leaves out which images there were to learn from.

    Parameters
    ----------
    per_class : sequence of float
        Training images a class, by size.
    right : sequence of ndarray of shape (R, M)
        Which held-out images were right, by size and repeat; the last has one repeat.
    groups : ndarray of shape (M,), int
    now : Metric
        Accuracy of heads that learned from all images.
    seed : int
        Of the resamples.
    n_folds : int, default=1
        Folds that the held-out images are of; 1 for a validation split.

    Returns
    -------
    doubled : Doubled or None
    reason : str
        Why there is none; "" if there is.
    """
    if len(right) < _ENOUGH:
        return None, f"a curve through {len(right)} points can be continued in any way"
    n = np.asarray(per_class, float)
    errors = np.array([1 - hits.mean() for hits in right])
    rng = np.random.default_rng(seed)
    group = np.unique(groups, return_inverse=True)[1].reshape(-1)
    G = int(group.max()) + 1
    sums = [  # wrong images by repeat and group
        np.stack([np.bincount(group, weights=1 - repeat) for repeat in hits]) for hits in right
    ]
    size = np.bincount(group)
    draws = np.empty((_RESAMPLES, len(right)))
    for b in range(_RESAMPLES):
        weights = np.bincount(rng.integers(0, G, G), minlength=G)
        total = weights @ size
        for i, part in enumerate(sums):
            chosen = rng.integers(0, len(part), len(part))
            draws[b, i] = (part[chosen] @ weights).mean() / total
    # A point counts by its precision; half an image keeps one without errors from ruling alone.
    precision = 1 / (draws.var(axis=0) + (0.5 / len(groups)) ** 2)
    (floor,), (scale,), (exponent,) = fit_power_law(n, errors[None], precision)
    floors, scales, exponents = fit_power_law(n, draws, precision)
    twice = 2 * n[-1]
    value = 1 - float(floor + scale * twice**-exponent)
    gain = value - 1 + float(floor + scale * n[-1] ** -exponent)
    low, high = np.quantile(1 - floors - scales * twice**-exponents, [0.025, 0.975])
    # What accuracy will be cannot be known better than what it is.
    low = max(0.0, min(float(low), value - (now.value - now.low)))
    high = min(1.0, max(float(high), value + (now.high - now.value)))
    return Doubled(
        per_class=float(twice),
        accuracy=Metric(value, low, high),
        gain=gain_of_doubling(gain, right[-2], right[-1], group, n_folds),
        floor=float(floor),
        scale=float(scale),
        exponent=float(exponent),
    ), ""


def gain_of_doubling(
    expected: float, half: np.ndarray, whole: np.ndarray, group: np.ndarray, n_folds: int
) -> Metric:
    """Bound the gain of twice the images by that of the last doubling, which was measured.

    An error that falls by a power law loses with each doubling 2^-exponent of what it lost with the
    one before: between a quarter and all of it, for exponents up to 2 and any floor. What was
    measured is uncertain by the images scored (paired: the same for both sizes), widened for folds,
    and by the images learned from. Of all images there is one draw only; the variance of its
    accuracy is taken to be half of what the halves show, with Student's t.

    Parameters
    ----------
    expected : float
        The gain by the fitted curve.
    half, whole : ndarray of shape (R, M) and (1, M)
        Which held-out images were right by repeat, learned from half of the images and from all.
    group : ndarray of shape (M,), int
    n_folds : int
        1 for a validation split.
    """
    from scipy.special import stdtrit

    R = len(half)
    difference = whole.mean(axis=0) - half.mean(axis=0)
    measured = float(difference.mean())
    scored = standard_error(difference - measured, group) * np.sqrt(variance_of_folds(n_folds))
    learned = half.mean(axis=1).std(ddof=1) * np.sqrt(1 / 2 + 1 / R)
    margin = float(np.hypot(Z * scored, stdtrit(R - 1, 0.975) * learned))
    # Where no image has changed sides, three of so many might have, and none been seen to.
    margin = max(margin, 3 / (int(group.max()) + 1))
    low, high = measured - margin, max(measured, 0.0) + margin
    low = low / 4 if low > 0 else low
    return Metric(float(np.clip(expected, low, high)), low, high)


def fit_power_law(
    n: np.ndarray, errors: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit ``error = floor + scale * n ** -exponent`` by least squares, many curves at once.

    `floor` and `scale` are at least 0, and the exponent is between 0.05 and 2: on a grid of
    exponents the rest is linear, with a closed form for each sign constraint.

    Parameters
    ----------
    n : ndarray of shape (P,)
        Training images a class.
    errors : ndarray of shape (B, P)
    weights : ndarray of shape (P,), optional
        Of the squares; equal by default.

    Returns
    -------
    floor, scale, exponent : ndarray of shape (B,)

    Examples
    --------
    >>> n = np.array([2.0, 4, 8, 16, 32])
    >>> floor, scale, exponent = fit_power_law(n, (0.1 + 0.5 * n**-1.0)[None])
    >>> round(float(floor[0]), 3), round(float(scale[0]), 3), round(float(exponent[0]), 3)
    (0.1, 0.5, 1.0)
    """
    B = len(errors)
    weight = np.ones(len(n)) if weights is None else weights
    weight = weight / weight.sum()
    best = np.full(B, np.inf)
    fitted = np.zeros((3, B))
    mean = errors @ weight
    for exponent in _EXPONENTS:
        x = n**-exponent
        centred = (x - x @ weight) * weight
        scale = np.maximum(errors @ centred / (centred @ x), 0)
        floor = mean - scale * (x @ weight)
        through_zero = floor < 0  # then the best curve with a floor of 0
        scale = np.where(through_zero, errors @ (x * weight) / (x @ (x * weight)), scale)
        floor = np.where(through_zero, 0, floor)
        loss = ((errors - floor[:, None] - scale[:, None] * x) ** 2) @ weight
        better = loss < best
        best = np.where(better, loss, best)
        fitted = np.where(better, np.stack([floor, scale, np.full(B, exponent)]), fitted)
    return fitted[0], fitted[1], fitted[2]
