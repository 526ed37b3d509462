"""Workers of Dask: each item is given to one of them, so that it is known who has what."""

from __future__ import annotations

import functools
import logging
import pickle
import re
import secrets
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Final

from ...errors import DataError, MissingExtraError, TlxError
from .pool import ASK_VERSION, CONNECT_SECONDS, Answer, ClusterKind, Ended, Work, answer
from .pool import check_version as check_version_of

_LOOK_SECONDS = 0.5  # between looks at which workers there are
_NOBODY_SECONDS = 60.0  # until it is given up to wait for workers


class DaskWorkers:
    """The workers of a scheduler, those included that come later.

    Left to the scheduler, an item whose worker died would be given to three more before anybody
    hears of it, and one that was given up to the worker that hangs. So each goes to a worker by
    name, and waits for no other.
    """

    def __init__(self, place: str) -> None:
        from distributed import Client

        self._place = place
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # lost workers are no news here
        try:
            self._client: Any = Client(
                f"tcp://{place}", timeout=CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, TimeoutError) as error:
            raise TlxError(
                f"no Dask scheduler answers at {place} within {CONNECT_SECONDS:.0f} s.",
                "Start one with: dask scheduler; and workers with: dask worker tcp://HOST:PORT",
            ) from error
        self._key = f"tlx-{secrets.token_hex(8)}"
        self._threads: dict[str, int] = {}
        self._greeted: dict[str, Any] = {}  # futures of versions
        self._ready: set[str] = set()
        self._hung: set[str] = set()
        self._at: dict[Any, str] = {}  # who has which item, by future
        self._looked_at = self._seen_at = float("-inf")
        self._await_one()

    @property
    def slots(self) -> int:
        """As many as there are workers that can be used."""
        self._look()
        return len(self._usable())

    def begin(self, work: Work, shared: Any) -> None:
        """Leave with the scheduler what workers are to fetch; new ones do so as well."""
        self._client.set_metadata([self._key], pickle.dumps((work, shared)))

    def submit(self, item: Any) -> Any:
        """Give an item to a worker that has none."""
        busy = set(self._at.values())
        worker = next(one for one in sorted(self._usable()) if one not in busy)
        future = self._to(worker, _answer, self._key, item, self._threads[worker])
        self._at[future] = worker
        return future

    def wait(self, seconds: float) -> list[Ended]:
        """Return what ended, and what the workers had that are gone."""
        from distributed import wait

        if self._at:
            with suppress(TimeoutError, CancelledError), self._client.as_current():
                wait(list(self._at), timeout=seconds, return_when="FIRST_COMPLETED")
        else:
            time.sleep(min(seconds, _LOOK_SECONDS))
        self._look()
        ended = [self._end(future) for future in list(self._at)]
        return [one for one in ended if one is not None]

    def drop(self, ticket: Any) -> None:
        """Forget an item, and use its worker no more unless all hang."""
        self._hung.add(self._at.pop(ticket))
        ticket.cancel()

    def close(self) -> None:
        """Forget all items and leave the workers to others."""
        with suppress(OSError, TimeoutError, ValueError):  # the scheduler is gone
            for future in self._at:
                future.cancel()
            self._client.set_metadata([self._key], b"")
        self._client.close(timeout=2)

    def _end(self, future: Any) -> Ended | None:
        worker, status = self._at[future], future.status
        lost = ""
        found = None
        if status == "finished":
            try:
                found = future.result(timeout=CONNECT_SECONDS)
            except (TimeoutError, CancelledError, OSError) as error:
                lost = f"worker {worker} was lost ({type(error).__name__})"
        elif status == "error":
            error = future.exception(timeout=CONNECT_SECONDS)
            lost = f"worker {worker}: {type(error).__name__}: {error}"
        elif status != "pending" or worker not in self._threads:
            lost = f"worker {worker} was lost"
            future.cancel()
        else:
            return None
        del self._at[future]
        return Ended(future, found, lost)

    def _usable(self) -> set[str]:
        """Return the workers that are there and have the same tlx; hung ones only for want."""
        return self._ready - self._hung or self._ready

    def _await_one(self) -> None:
        until = time.monotonic() + CONNECT_SECONDS
        while not self.slots:
            if time.monotonic() > until:
                raise TlxError(
                    f"the Dask scheduler at {self._place} has no workers.",
                    f"Start some with: dask worker tcp://{self._place}",
                )
            time.sleep(0.05)

    def _look(self) -> None:
        """See which workers came, whom to ask for their version first, and which are gone."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS and self._ready:
            return
        self._looked_at = now
        try:
            self._threads = dict(self._client.nthreads())
        except (OSError, TimeoutError, ValueError, CancelledError) as error:
            raise self._gone() from error
        if self._client.status not in ("running", "connecting"):
            raise self._gone()
        for worker in self._threads.keys() - self._greeted.keys():
            self._greeted[worker] = self._to(worker, eval, ASK_VERSION)
        for worker in self._greeted.keys() - self._threads.keys():
            del self._greeted[worker]
        for worker, future in self._greeted.items():
            if worker not in self._ready and future.status in ("finished", "error"):
                check_version_of(worker, _version(future))
                self._ready.add(worker)
        self._ready &= self._threads.keys()
        self._seen_at = now if self._ready or self._seen_at < 0 else self._seen_at
        if now - self._seen_at > _NOBODY_SECONDS:
            raise TlxError(
                f"no worker is left at the Dask scheduler {self._place}.",
                "Start some, and run the same command again: finished work is kept.",
            )

    def _gone(self) -> TlxError:
        return TlxError(
            f"the Dask scheduler at {self._place} is gone.",
            "Start it, and run the same command again: finished work is kept.",
        )

    def _to(self, worker: str, function: Any, *arguments: Any) -> Any:
        return self._client.submit(
            function, *arguments, workers=[worker], allow_other_workers=False, pure=False
        )


def _version(future: Any) -> str:
    """Return what a worker says of its tlx."""
    if future.status == "error":
        return f"that cannot be imported ({future.exception(timeout=CONNECT_SECONDS)})"
    return future.result(timeout=CONNECT_SECONDS)


def _answer(key: str, item: Any, cores: int) -> Answer:
    work, shared = _fetched(key)
    return answer(work, shared, item, cores)


@functools.lru_cache(maxsize=1)
def _fetched(key: str) -> tuple[Work, Any]:
    from distributed import get_client

    client: Any = get_client()
    return pickle.loads(client.get_metadata([key]))


def _check(rest: str) -> str:
    """Return HOST:PORT."""
    found = re.fullmatch(r"//([^/:\s]+:\d{1,5})/?", rest)
    if not found:
        raise DataError(
            f"'dask:{rest}' names no Dask scheduler.", "Use dask://HOST:PORT; its port is 8786."
        )
    if find_spec("distributed") is None:
        raise MissingExtraError.of("distributed", "dask")
    return found[1]


KIND: Final = ClusterKind(
    "dask", "dask://HOST:PORT", check=_check, open=lambda rest: DaskWorkers(_check(rest))
)
