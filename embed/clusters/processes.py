"""Processes on this machine, by joblib's loky: a lost one takes no other along."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Final

from ...errors import DataError
from .pool import Answer, ClusterKind, Ended, Work, answer

_THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB", "NUMEXPR")  # …_NUM_THREADS
_WATCH_SECONDS = 2.0


class Processes:
    """So many processes, each an executor of its own.

    In one executor for all, a process that dies ends every call that is with the others, and
    nobody knows whose call it was that killed it.
    """

    def __init__(self, count: int) -> None:
        self.slots = count
        self._cores = max(1, (os.cpu_count() or 1) // count)
        self._begin: tuple[Any, ...] = ()
        self._idle: list[Any] = []
        self._busy: dict[Future[Answer], Any] = {}

    def begin(self, work: Work, shared: Any) -> None:
        """Take over what `submit` is to run; processes are started when they are needed."""
        self.close()
        self._begin = (work, shared, self._cores)

    def submit(self, item: Any) -> Future[Answer]:
        """Give an item to a process that has none, or to a new one."""
        executor = self._idle.pop() if self._idle else self._start()
        future = executor.submit(_answer, item)
        self._busy[future] = executor
        return future

    def wait(self, seconds: float) -> list[Ended]:
        """Return what ended."""
        done, _ = wait(self._busy, seconds, FIRST_COMPLETED)
        ended = []
        for future in done:
            executor = self._busy.pop(future)
            error = future.exception()
            if error is None:
                self._idle.append(executor)
                ended.append(Ended(future, future.result()))
            else:
                _kill(executor)
                ended.append(Ended(future, None, f"its process was lost ({type(error).__name__})"))
        return ended

    def drop(self, ticket: Future[Answer]) -> None:
        """End the process that works on an item."""
        _kill(self._busy.pop(ticket))

    def close(self) -> None:
        """End all processes."""
        for executor in (*self._idle, *self._busy.values()):
            _kill(executor)
        self._idle, self._busy = [], {}

    def _start(self) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor

        threads = {f"{name}_NUM_THREADS": str(self._cores) for name in _THREADS}
        return ProcessPoolExecutor(
            1, initializer=_hold, initargs=(os.getpid(), *self._begin), env=threads
        )


_HELD: list[Any] = []


def _hold(parent: int, *begun: Any) -> None:
    """Keep, in a new process, what is the same for all items; Ctrl-C is for the parent to hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _HELD[:] = begun
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    """End this process when the one that started it was killed, be it before this began."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _answer(item: Any) -> Answer:
    work, shared, cores = _HELD
    return answer(work, shared, item, cores)


def _kill(executor: Any) -> None:
    executor.shutdown(wait=False, kill_workers=True)


def _count(rest: str) -> int:
    if rest.isascii() and rest.isdigit() and 1 <= int(rest) <= 1024:
        return int(rest)
    raise DataError(
        f"'processes:{rest}' names no number of processes.",
        f"Use processes:{os.cpu_count()} for one a processor.",
    )


KIND: Final = ClusterKind(
    "processes", "processes:N", check=_count, open=lambda rest: Processes(_count(rest))
)
