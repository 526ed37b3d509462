"""Files that are not here, fetched ahead: many at a time, and each again if it fails at first."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..errors import ImageError, StorageError
from .headers import MAX_BYTES
from .remote import IN_FLIGHT, read
from .trouble import FetchError
from .urls import is_url

_AHEAD = 2 * IN_FLIGHT  # asked for, and not taken yet
HELD = 256 * 2**20  # bytes of those that came and are not decoded yet
_RETRY_SECONDS = 60.0  # after which no new attempt is made
_GIVE_UP = 32  # that failed one after another: it is not these images

Read = Callable[..., bytes]


class Fetched:
    """What came of one file: its bytes, or why there are none.

    It counts as held until `release` is called.
    """

    def __init__(self, room: _Room, data: bytes = b"", error: Exception | None = None) -> None:
        self._room, self._data, self.error = room, data, error

    def data(self) -> bytes:
        """Return the bytes, or raise what went wrong."""
        if self.error is not None:
            raise self.error
        return self._data

    def release(self) -> None:
        """Let others be fetched in its place."""
        self._room.add(-len(self._data))
        self._data = b""


def fetch_ahead(
    files: Iterable[str | bytes], read: Read = read, retry_seconds: float = _RETRY_SECONDS
) -> Iterator[tuple[int, str | bytes | Fetched]]:
    """Yield each file with its number; of those with a URL what they hold, as they come.

    At most 32 are fetched at a time, and none while 256 MiB wait to be decoded.

    Parameters
    ----------
    files : iterable of N str or bytes
        What is no URL is yielded as it is, at once.
    read : callable, default=tlx.embed.remote.read
    retry_seconds : float, default=60
        A file that fails for a reason that may pass is tried again, with pauses that grow, for so
        long.

    Yields
    ------
    (int, str or bytes or Fetched)
        N of them.

    Raises
    ------
    StorageError
        If 32 fail one after another for such a reason.
    """
    crew: _Crew | None = None
    waiting = failed = 0
    try:
        for number, file in enumerate(files):
            if isinstance(file, bytes) or not is_url(file):
                yield number, file
                continue
            crew = crew or _Crew(read, retry_seconds)
            crew.ask(number, file)
            waiting += 1
            while waiting >= _AHEAD or (waiting and crew.has_some()):
                number, fetched = crew.take()
                waiting, failed = waiting - 1, _count(failed, fetched)
                yield number, fetched
        while crew and waiting:
            number, fetched = crew.take()
            waiting, failed = waiting - 1, _count(failed, fetched)
            yield number, fetched
    finally:
        if crew:
            crew.dismiss()


def _count(failed: int, fetched: Fetched) -> int:
    """Return how many failed one after another."""
    error = fetched.error
    if not (isinstance(error, FetchError) and error.again):
        return 0
    if failed + 1 >= _GIVE_UP:
        raise StorageError(
            f"{_GIVE_UP} images one after another could not be fetched: {error.strerror}.",
            "What was finished is kept: run the same command again to go on.",
        )
    return failed + 1


class _Room:
    """How many bytes are held; more are waited with."""

    def __init__(self) -> None:
        self._held, self._free, self._large = 0, threading.Condition(), threading.Lock()

    def add(self, count: int) -> None:
        with self._free:
            self._held += count
            self._free.notify_all()

    def wait(self) -> None:
        """Wait until others may be fetched."""
        with self._free:
            self._free.wait_for(lambda: self._held < HELD)

    def __enter__(self) -> None:
        """Hold the right to fetch a large file, which one has at a time."""
        self._large.acquire()
        self.wait()

    def __exit__(self, *_: object) -> None:
        self._large.release()


class _Crew:
    """Threads that fetch. They are daemons: a slow server keeps no command from ending."""

    def __init__(self, read: Read, retry_seconds: float) -> None:
        self._read, self._seconds = read, retry_seconds
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, Fetched]] = queue.SimpleQueue()
        self._room, self._stop, self._threads = _Room(), threading.Event(), 0

    def ask(self, number: int, file: str) -> None:
        self._asked.put((number, file))
        if self._threads < IN_FLIGHT:
            self._threads += 1
            threading.Thread(target=self._work, name="tlx-fetch", daemon=True).start()

    def has_some(self) -> bool:
        return not self._done.empty()

    def take(self) -> tuple[int, Fetched]:
        return self._done.get()

    def dismiss(self) -> None:
        """Let all threads end after what they are at."""
        self._stop.set()
        for _ in range(self._threads):
            self._asked.put(None)
        self._room.add(-(2**62))  # none waits for room any more

    def _work(self) -> None:
        while (task := self._asked.get()) is not None and not self._stop.is_set():
            number, file = task
            self._room.wait()
            try:
                data = self._fetch(file)
                fetched = Fetched(self._room, data)
                self._room.add(len(data))
            except Exception as error:  # told where the file is decoded
                fetched = Fetched(self._room, error=error)
            self._done.put((number, fetched))

    def _fetch(self, file: str) -> bytes:
        until, wait = time.monotonic() + self._seconds, 0.25
        while True:
            try:
                data = self._read(file, MAX_BYTES + 1, self._room)
                if len(data) > MAX_BYTES:
                    raise ImageError(f"file of more than {MAX_BYTES >> 20} MiB")
                return data
            except FetchError as trouble:
                if not trouble.again or time.monotonic() + wait > until or self._stop.is_set():
                    raise
            self._stop.wait(wait * random.uniform(0.5, 1))
            wait = min(2 * wait, 8.0)
