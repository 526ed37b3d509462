"""Whether the images that arrive resemble those that a run was scored on.

A stranger is an image of a p-value of at most a level (`tlx.classify.strangers`). Of images like
the M scored ones the share of strangers is about that level, but not exactly: the limit distance is
itself one of M drawn ones. So of n new images the number of strangers is beta-binomial with
(k, M + 1 - k), where k = floor(level (M + 1)) [1]_; a binomial test would take a run that was
scored on few images for drifting.

References
----------
.. [1] V. Vovk (2012), Conditional validity of inductive conformal predictors, ACML.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

WINDOW = 500  # images looked back on
_LEAST = 50
_ALPHA = 1e-5  # small, as it is asked after every image


class Drift:
    """A rolling share of strangers.

    Parameters
    ----------
    level : float
        Share of strangers among images like the scored ones.
    n_scored : int
        Images that the run was scored on.
    window : int, default=500
    """

    def __init__(self, level: float, n_scored: int, window: int = WINDOW) -> None:
        self.level = level
        self._M = n_scored
        self._k = max(int(level * (n_scored + 1) + 1e-9), 1)
        self._seen: deque[bool] = deque(maxlen=window)
        self._strangers = 0
        self._limits: dict[int, int] = {}
        self.is_out = False

    @property
    def n(self) -> int:
        """Images looked back on."""
        return len(self._seen)

    @property
    def share(self) -> float:
        """Share of strangers among these; 0 if there are none."""
        return self._strangers / len(self._seen) if self._seen else 0.0

    def look(self, p_values: Iterable[float]) -> str:
        """Take new images in; return what is to be told, "" if all is as it was."""
        for p in p_values:
            if len(self._seen) == self._seen.maxlen:
                self._strangers -= self._seen[0]
            self._seen.append(p <= self.level)
            self._strangers += self._seen[-1]
        if len(self._seen) < _LEAST:
            return ""
        if not self.is_out and self._strangers > self._limit(len(self._seen)):
            self.is_out = True
            return (
                f"{self._strangers} of the last {self.n} images are like nothing the run learned "
                f"from; of images like those it was scored on, {self.level:.1%} would be."
            )
        # Back is farther in than out, so that a share at the limit is not told again and again.
        if self.is_out and 2 * self._strangers <= self._limit(len(self._seen)):
            self.is_out = False
            return f"The last {self.n} images are again like those the run was scored on."
        return ""

    def _limit(self, n: int) -> int:
        """Return the most strangers among n images that chance brings."""
        if n not in self._limits:
            self._limits[n] = most_by_chance(n, self._k, self._M + 1 - self._k)
        return self._limits[n]


def most_by_chance(n: int, a: float, b: float, alpha: float = _ALPHA) -> int:
    """Return the least x with P(X > x) <= alpha for a beta-binomial X of n draws.

    Examples
    --------
    >>> most_by_chance(500, 4, 396), most_by_chance(500, 100, 9900)
    (29, 17)
    """
    above, x = 0.0, n
    while x > 0:
        log_p = (
            math.lgamma(n + 1) - math.lgamma(x + 1) - math.lgamma(n - x + 1)
            + math.lgamma(x + a) + math.lgamma(n - x + b) - math.lgamma(n + a + b)
            + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
        )  # fmt: skip
        above += math.exp(log_p)
        if above > alpha:
            return x
        x -= 1
    return 0
