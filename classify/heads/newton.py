"""Newton's method kept inside a bracket: for functions of one number that cross zero once."""

from __future__ import annotations

from collections.abc import Callable


def increasing_root(
    function: Callable[[float], tuple[float, float]],
    start: float,
    low: float,
    high: float,
    tol: float,
) -> float:
    """Return where a function is zero that is negative below and positive above.

    Parameters
    ----------
    function : callable
        Returns its value and its slope.
    start, low, high : float
        The zero is sought between `low` and `high`, from `start`; beyond them the end is returned.
    tol : float
        The last step is at most this long.

    Examples
    --------
    >>> round(increasing_root(lambda t: (t**3 - 8, 3 * t**2), 1.0, 0.0, 100.0, 1e-9), 6)
    2.0
    """
    t = start
    for _ in range(100):
        value, slope = function(t)
        low, high = (t, high) if value < 0 else (low, t)
        last, t = t, t - value / slope if slope > 0 else high
        if not low < t < high:
            t = (low + high) / 2
        if abs(t - last) <= tol:
            break
    return t
