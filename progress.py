"""How far long work is: what all of the library tells, and `tlx.cli.progress` shows."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Whoever wants to know; called now and then, from the thread that does the work."""

    def __call__(self, done: float, total: float, /) -> None:
        """Be told that `done` of `total` is done, in whatever unit."""
        ...


def silent(done: float, total: float, /) -> None:
    """Tell nobody."""


def share(progress: Progress, start: float, size: float, total: float) -> Progress:
    """Return who is told of a part of the work as if it were all, and tells `progress` of all.

    What a part tells may go back, as of heads that work ahead; what `progress` hears does not.

    Parameters
    ----------
    progress : Progress
    start, size, total : float
        The part is from `start` to ``start + size`` of `total`.

    Examples
    --------
    >>> second_half = share(lambda done, total: print(done, "of", total), 5, 5, 10)
    >>> second_half(1, 2)
    7.5 of 10
    """
    furthest = 0.0

    def tell(done: float, whole: float) -> None:
        nonlocal furthest
        furthest = max(furthest, min(1.0, done / whole) if whole else 1.0)
        progress(start + size * furthest, total)

    return tell
