"""What every kind of cluster offers, and how it tells the registry of itself."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..._version import __version__
from ...errors import TlxError
from ..threads import limit_threads

CONNECT_SECONDS = 10.0
Work = Callable[[Any, Any], Any]  # (shared, item) to whatever can be pickled

# What asks a worker for its tlx. It needs nothing of tlx there, so that any version understands it.
ASK_VERSION = "getattr(__import__('tlx'), '__version__', 'of unknown version')"


class Answer(NamedTuple):
    """What a worker made of one item.

    Attributes
    ----------
    value : object
    worker : str
        Host and number of the process.
    seconds : float
    error : TlxError, str or None
        Why there is no value: one of the user's making, that no other worker would mend, or
        anything else.
    """

    value: Any
    worker: str
    seconds: float
    error: TlxError | str | None = None


class Ended(NamedTuple):
    """An item that is at an end: it was answered, or its worker was lost.

    Attributes
    ----------
    ticket : hashable
        What `Pool.submit` returned for it.
    answer : Answer or None
    lost : str
        What became of its worker, where there is no answer.
    """

    ticket: Hashable
    answer: Answer | None
    lost: str = ""


class Pool(Protocol):
    """Workers that are ready. One item is at work in a process at a time.

    Attributes
    ----------
    slots : int
        How many items to have with them; it may change.
    """

    @property
    def slots(self) -> int:
        """How many items to have with the workers."""
        ...

    def begin(self, work: Work, shared: Any) -> None:
        """Take over what `submit` is to run, and what is the same for all items."""

    def submit(self, item: Any) -> Hashable:
        """Give an item to a worker and return at once."""
        ...

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Return what ended, each once, as soon as there is any, or nothing after some seconds."""
        ...

    def drop(self, ticket: Any) -> None:
        """Forget an item that takes too long, and what works on it if that can be."""

    def close(self) -> None:
        """Let go of the workers; those at work are not waited for."""


@dataclass(frozen=True)
class ClusterKind:
    """One kind of cluster: the ``KIND`` of a file beside this one.

    Parameters
    ----------
    name : str
        What stands before the colon of ``--cluster``.
    form : str
        How it is typed, such as ``"dask://HOST:PORT"``.
    check : callable
        ``check(rest)`` raises a `DataError` if what follows the name and its colon is wrong, or a
        `MissingExtraError`; it starts nothing.
    open : callable
        ``open(rest)`` gives the `Pool`. It raises a `TlxError` if nobody answers.
    """

    name: str
    form: str
    check: Callable[[str], object]
    open: Callable[[str], Pool]


_ONE_AT_A_TIME = threading.Lock()  # in a process that runs several calls side by side


def answer(work: Work, shared: Any, item: Any, cores: int) -> Answer:
    """Do the work of one item, in a worker.

    Parameters
    ----------
    work : callable
    shared, item : object
    cores : int
        How many threads the work may use.
    """
    from threadpoolctl import threadpool_limits

    with _ONE_AT_A_TIME, threadpool_limits(cores, "blas"):
        limit_threads(cores)
        started = time.monotonic()
        value, error = None, None
        try:
            value = work(shared, item)
        except TlxError as told:
            error = told
        except Exception as told:
            error = f"{type(told).__name__}: {told}".rstrip(": ")
        return Answer(value, worker_name(), time.monotonic() - started, error)


def worker_name() -> str:
    """Return the name of this process as a worker."""
    return f"{socket.gethostname()}:{os.getpid()}"


def check_version(worker: str, version: str, wanted: str = __version__) -> None:
    """Raise a `TlxError` if a worker has another tlx than the process that gives it work.

    Examples
    --------
    >>> check_version("node-7:4711", "1.0", "1.0")
    """
    if version != wanted:
        raise TlxError(
            f"worker {worker} has tlx {version}, and here is tlx {wanted}.",
            f"Run there: pip install tlx-vision=={wanted}",
        )
