"""How many threads this process works with: all processors, unless it has a share of them."""

from __future__ import annotations

import os

_share: int | None = None


def thread_count() -> int:
    """Return how many threads to use for decoding, and as many for the network."""
    return _share or os.cpu_count() or 1


def limited_threads() -> int | None:
    """Return the share of the processors that was set; None if they are all this process's own."""
    return _share


def limit_threads(count: int | None) -> None:
    """Set the share of the processors of this process, as a worker that has others beside it.

    An engine takes it over when it is opened.

    Parameters
    ----------
    count : int or None
        None takes the limit away.
    """
    global _share
    _share = count
