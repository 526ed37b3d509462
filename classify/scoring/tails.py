"""Exact tails that everyday commands need, without scipy.special.

To import that takes .17 s, a quarter of what `tlx compare` takes in all. Quantiles that only rare
ways need (exact limits, Student's t) are still taken from there.
"""

from __future__ import annotations

import math


def binomial_tail(n: float, k: float) -> float:
    """Return the probability that `n` tosses of a fair coin show at least `k` heads.

    Neither has to be whole: it is the regularized incomplete beta function ``I_1/2(k, n - k + 1)``,
    by its continued fraction [1]_, which converges from the middle of the distribution on.

    Parameters
    ----------
    n : float
        Tosses, above 0.
    k : float
        Heads, from n / 2 to n.

    References
    ----------
    .. [1] NIST Digital Library of Mathematical Functions, 8.17.22.

    Examples
    --------
    >>> round(binomial_tail(4, 3), 12)  # 5 of 16
    0.3125
    """
    a, b, x = k, n - k + 1, 0.5
    fraction = 1.0
    for m in range(20 + 4 * math.isqrt(math.ceil(n)), 0, -1):  # from its end, which is stable
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        fraction = 1 + even / (1 + odd / fraction)
    fraction = 1 - (a + b) * x / (a + 1) / fraction
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return math.exp((a + b) * math.log(x) - log_beta) / a / fraction


def chi_square_tail(df: int, value: float) -> float:
    """Return the probability that chi-square of `df` degrees of freedom is above `value`.

    It is a sum of Poisson terms, whole ones for even `df`, halves for odd (DLMF 8.4.10, 8.4.15).

    Examples
    --------
    >>> round(chi_square_tail(1, 3.841458820694124), 6)
    0.05
    """
    if df < 1 or value <= 0:
        return 1.0
    half = value / 2
    total = 0.0 if df % 2 == 0 else math.erfc(math.sqrt(half))
    for i in range(df // 2):
        power = i + df % 2 / 2
        total += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
    return min(1.0, total)
