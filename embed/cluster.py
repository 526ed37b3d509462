"""Hand out work to a cluster: what fails is given out again, and what hangs is not waited for."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import FormatError, TlxError
from .clusters.pool import Answer, Pool, Work
from .clusters.registry import find_cluster

TRIES = 3
_WAIT_SECONDS = 0.5
# How long a piece of work may take: the first ones open networks, and perhaps convert them.
_FIRST_DEADLINE, _LEAST_DEADLINE, _DEADLINE_MEDIANS = 600.0, 60.0, 20


@dataclass(frozen=True)
class Cluster:
    """Who does the work, and how it is shared.

    Parameters
    ----------
    address : str
        ``"processes:N"``, ``"dask://HOST:PORT"`` or ``"ray://HOST:PORT"``; ``"ray://"`` starts
        Ray on this machine.
    return_features : bool, default=False
        Workers of `embed_images` return features instead of writing them into the workspace. They
        do so anyway where they cannot see it.
    part_images : int, optional
        Images that a worker gets at a time; by default at most 64.
    deadline : float, optional
        Seconds after which a part is given to another worker; by default 20 times as long as most
        take, at least 60, and 600 before any is done.
    rates : callable, optional
        Told now and then how many images a second each worker does, by its name.

    Raises
    ------
    UnknownNameError, DataError, MissingExtraError
        See `tlx.embed.clusters.registry.find_cluster`.

    Examples
    --------
    >>> Cluster("processes:2").address
    'processes:2'
    """

    address: str
    return_features: bool = False
    part_images: int | None = None
    deadline: float | None = None
    rates: Callable[[Mapping[str, float]], None] = lambda rates: None

    def __post_init__(self) -> None:
        find_cluster(self.address)

    @classmethod
    def of(cls, value: str | Cluster | None) -> Cluster | None:
        """Return what an argument names."""
        return cls(value) if isinstance(value, str) else value

    @contextmanager
    def opened(self) -> Iterator[Pool]:
        """Give the workers, and let go of them at the end."""
        pool = find_cluster(self.address)()
        try:
            yield pool
        finally:
            pool.close()


class Done(NamedTuple):
    """One item that is finished.

    Attributes
    ----------
    index : int
        Its place among the items.
    answer : Answer or None
    reason : str
        Why there is no answer, after all tries.
    """

    index: int
    answer: Answer | None
    reason: str = ""


def hand_out(
    pool: Pool,
    items: Sequence[Any],
    accept: Callable[[int, Answer], Any] = lambda index, answer: None,
    *,
    tries: int = TRIES,
    deadline: float | None = None,
) -> Iterator[Done]:
    """Yield each item as it is finished, in whatever order; `pool` has begun.

    Parameters
    ----------
    pool : Pool
    items : sequence of N objects
    accept : callable, optional
        Called with an item's place and answer; raises a FormatError if the answer is damaged.
    tries : int, default=3
        How often an item is given out at most: its worker may die, hang or return damage.
    deadline : float, optional
        See `Cluster`.

    Yields
    ------
    Done
        N of them.

    Raises
    ------
    TlxError
        If a worker met what another would meet too, such as a missing network; or if so many items
        failed one after another that no worker can be of use.
    """
    waiting = deque(range(len(items)))
    flights: dict[Hashable, tuple[int, float]] = {}
    tried: Counter[int] = Counter()
    times: deque[float] = deque(maxlen=100)
    failed_in_a_row = 0
    while waiting or flights:
        failures = []
        _fill_up(pool, items, waiting, flights, tried)
        back = [
            (*flights.pop(ended.ticket), ended)
            for ended in pool.wait(_WAIT_SECONDS)
            if ended.ticket in flights  # and not dropped before
        ]
        _fill_up(pool, items, waiting, flights, tried)  # no worker waits for what follows
        for index, since, ended in back:
            reason = ended.lost
            if ended.answer is not None:
                reason = _refused(index, ended.answer, accept)
                if not reason:
                    times.append(time.monotonic() - since)
                    failed_in_a_row = 0
                    yield Done(index, ended.answer)
                    continue
            failures.append((index, reason))
        failures += _overdue(pool, flights, deadline or _deadline(times))
        for index, reason in failures:
            failed_in_a_row += 1
            if failed_in_a_row >= max(4 * TRIES, 2 * TRIES * pool.slots):
                raise TlxError(
                    f"no worker is of use: {failed_in_a_row} pieces of work failed one after "
                    f"another; the last: {reason}.",
                    "See what the workers say. Finished work is kept.",
                )
            if tried[index] < tries:
                waiting.append(index)
            else:
                yield Done(index, None, f"tried {_times(tries)}: {reason}")


def _fill_up(
    pool: Pool,
    items: Sequence[Any],
    waiting: deque[int],
    flights: dict[Hashable, tuple[int, float]],
    tried: Counter[int],
) -> None:
    """Give every worker that has none an item."""
    while waiting and len(flights) < pool.slots:
        index = waiting.popleft()
        tried[index] += 1
        flights[pool.submit(items[index])] = index, time.monotonic()


def _refused(index: int, answer: Answer, accept: Callable[[int, Answer], Any]) -> str:
    """Return what is wrong with an answer, "" if it is accepted."""
    if isinstance(answer.error, TlxError):
        raise answer.error
    if answer.error is not None:
        return answer.error
    try:
        accept(index, answer)
    except FormatError as error:
        return f"what {answer.worker} returned is damaged: {error.cause}"
    return ""


def _overdue(
    pool: Pool, flights: dict[Hashable, tuple[int, float]], deadline: float
) -> list[tuple[int, str]]:
    """Drop what takes too long; return the items."""
    now = time.monotonic()
    late = [(ticket, index) for ticket, (index, since) in flights.items() if now - since > deadline]
    for ticket, _ in late:
        del flights[ticket]
        pool.drop(ticket)
    return [(index, f"no answer within {deadline:.0f} s") for _, index in late]


def _deadline(times: Sequence[float]) -> float:
    if not times:
        return _FIRST_DEADLINE
    return max(_LEAST_DEADLINE, _DEADLINE_MEDIANS * statistics.median(times))


def _times(count: int) -> str:
    return {1: "once", 2: "twice", 3: "three times"}.get(count, f"{count} times")


def map_cluster(
    cluster: str | Cluster, work: Work, shared: Any, items: Iterable[Any]
) -> Iterator[tuple[int, Any]]:
    """Yield the place and ``work(shared, item)`` of each item as workers finish them.

    Parameters
    ----------
    cluster : str or Cluster
    work : callable
        A function of a module, which workers can import.
    shared : object
        What all items have in common; each worker gets it once.
    items : iterable of N objects

    Yields
    ------
    int, object
        In whatever order.

    Raises
    ------
    TlxError
        What `work` raised of these; or that an item failed three times.
    """
    how = Cluster.of(cluster)
    assert how is not None
    with how.opened() as pool:
        pool.begin(work, shared)
        for done in hand_out(pool, list(items), deadline=how.deadline):
            if done.answer is None:
                raise TlxError(f"a worker could not do its work ({done.reason}).")
            yield done.index, done.answer.value
