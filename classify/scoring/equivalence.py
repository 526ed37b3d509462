"""What a difference between two classifiers means in practice, and how many images would tell."""

from __future__ import annotations

import math
from statistics import NormalDist

from .intervals import Z
from .paired import Difference

ALPHA = 0.05
POWER = 0.8
_NORMAL = NormalDist()


def verdict(difference: Difference, rope: float) -> str:
    """Say what a difference from the best means.

    Parameters
    ----------
    difference : Difference
        Of a classifier from the best.
    rope : float
        Region of practical equivalence [1]_: differences that do not matter, 0.01 for a point.

    Returns
    -------
    str
        ``"equal"`` if the whole 95% interval lies within the region, also where the difference is
        beyond chance; ``"worse"`` if it is beyond chance; else ``"not known"``.

    References
    ----------
    .. [1] J. K. Kruschke (2018), Rejecting or accepting parameter values in Bayesian estimation,
       Advances in Methods and Practices in Psychological Science 1.

    Examples
    --------
    >>> verdict(Difference(-0.002, -0.008, 0.004, 0.5), rope=0.01)
    'equal'
    >>> verdict(Difference(-0.03, -0.05, -0.01, 0.01), rope=0.01)
    'worse'
    >>> verdict(Difference(-0.01, -0.03, 0.01, 0.3), rope=0.01)
    'not known'
    """
    if -rope <= difference.low and difference.high <= rope:
        return "equal"
    return "worse" if difference.p_value < ALPHA else "not known"


def images_needed(difference: Difference, rope: float, n: int, pairs: int = 1) -> int | None:
    """Return about how many images would tell a classifier from the best, or call it equal.

    If the difference is what it seems, so many images decide in four of five cases. Its standard
    error shrinks with the root of their number.

    Parameters
    ----------
    difference : Difference
    rope : float
        See `verdict`.
    n : int
        Images that the difference was measured on.
    pairs : int, default=1
        Pairs of classifiers that its p-value is corrected for.

    Returns
    -------
    int or None
        Two significant digits; None if there is nothing to go by.

    Examples
    --------
    >>> images_needed(Difference(0.0, -0.02, 0.02, 1.0), rope=0.01, n=400)
    4400
    """
    error = (difference.high - difference.low) / (2 * Z)
    if not 0 < error < math.inf:
        return None
    gap = abs(difference.value)
    beyond_chance = gap / (_NORMAL.inv_cdf(1 - ALPHA / 2 / pairs) + _NORMAL.inv_cdf(POWER))
    wanted = max(beyond_chance, _error_within(rope, gap))
    if wanted <= 0:
        return None
    needed = max(n + 1.0, n * float(error / wanted) ** 2)
    digit = 10.0 ** max(0, math.floor(math.log10(needed)) - 1)
    return int(math.ceil(needed / digit) * digit)


def _error_within(rope: float, gap: float) -> float:
    """Return the standard error at which the interval lies within the region in four of five cases.

    Both its ends have to. It is 0 if the gap itself does not lie within.
    """
    low, high = 0.0, max(0.0, rope - gap)
    for _ in range(60 if high else 0):
        error = (low + high) / 2
        upper, lower = (_NORMAL.cdf((rope + d) / error - Z) for d in (gap, -gap))
        within = upper + lower - 1
        low, high = (error, high) if within > POWER else (low, error)
    return low
