"""Workers of Ray: one task a processor, which Ray does not try again by itself."""

from __future__ import annotations

import os
import pickle
import re
import secrets
import socket
import time
import warnings
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Final, cast

from ...errors import DataError, MissingExtraError, TlxError
from .pool import CONNECT_SECONDS, Answer, ClusterKind, Ended, Work, answer

_HELD: dict[str, tuple[Work, Any]] = {}
_LOOK_SECONDS = 2.0  # between looks at how many processors there are
_NOBODY_SECONDS = 60.0  # until it is given up to wait for some


class RayWorkers:
    """All processors of a cluster of Ray, or of this machine.

    Parameters
    ----------
    place : str
        HOST:PORT of a Ray Client server; "" starts Ray here, until `close`.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        if place:
            host, _, port = place.rpartition(":")
            try:
                socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
            except OSError as error:
                raise _unreachable(place) from error
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report to a server abroad
        import ray

        self._ray = cast(Any, ray)  # typed where it is installed alone
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what fails is told below
                if place:
                    self._ray.init(f"ray://{place}", **quiet)
                else:
                    self._ray.init("local", include_dashboard=False, **quiet)
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            if not place:
                raise TlxError(f"Ray does not start: {error}", "Try processes:N.") from error
            raise _unreachable(place) from error
        self._work = self._ray.remote(num_cpus=1, max_retries=0)(_answer)
        self._key = secrets.token_hex(8)
        self._shared: Any = None
        self._at: set[Any] = set()
        self._processors, self._looked_at = 0, float("-inf")
        self._seen_at = time.monotonic()

    @property
    def slots(self) -> int:
        """As many as there are processors."""
        now = time.monotonic()
        if now - self._looked_at > _LOOK_SECONDS:
            self._looked_at = now
            self._processors = int(self._ray.cluster_resources().get("CPU", 0))
            self._seen_at = now if self._processors else self._seen_at
        if now - self._seen_at > _NOBODY_SECONDS:
            raise TlxError(
                "Ray has no processors.",
                "Start some nodes, and run the same command again: finished work is kept.",
            )
        return self._processors

    def begin(self, work: Work, shared: Any) -> None:
        """Put what is the same for all items where workers find it."""
        self._shared = self._ray.put(pickle.dumps((work, shared)))

    def submit(self, item: Any) -> Any:
        """Have Ray choose a worker for an item."""
        # In a list, as Ray would otherwise fetch it for each item anew.
        reference = self._work.remote([self._shared], self._key, item)
        self._at.add(reference)
        return reference

    def wait(self, seconds: float) -> list[Ended]:
        """Return what ended."""
        if not self._at:
            time.sleep(seconds)
            return []
        known = list(self._at)
        if not self._ray.wait(known, timeout=seconds)[0]:
            return []
        ready, _ = self._ray.wait(known, num_returns=len(known), timeout=0)
        return [self._end(reference) for reference in ready]

    def drop(self, ticket: Any) -> None:
        """Forget an item, and end its worker where that still hears."""
        self._at.discard(ticket)
        with suppress(self._ray.exceptions.RayError):
            self._ray.cancel(ticket, force=True)

    def close(self) -> None:
        """Forget all items, and leave the cluster or end the one that was started here."""
        for reference in list(self._at):
            self.drop(reference)
        self._ray.shutdown()

    def _end(self, reference: Any) -> Ended:
        self._at.discard(reference)
        try:
            return Ended(reference, self._ray.get(reference, timeout=CONNECT_SECONDS))
        except self._ray.exceptions.RayError as error:
            return Ended(reference, None, f"its worker was lost ({type(error).__name__})")


def _answer(shared: list[Any], key: str, item: Any) -> Answer:
    work, common = _fetched(key, *shared)
    return answer(work, common, item, 1)


def _fetched(key: str, reference: Any) -> tuple[Work, Any]:
    """Return what is the same for all items; a worker keeps the latest."""
    import ray

    if key not in _HELD:
        _HELD.clear()
        _HELD[key] = pickle.loads(cast(Any, ray).get(reference))
    return _HELD[key]


def _unreachable(place: str) -> TlxError:
    return TlxError(
        f"no Ray Client server answers at {place}.",
        "Start one with: ray start --head --ray-client-server-port 10001; or, if it wants a token, "
        "set RAY_AUTH_MODE=token.",
    )


def _check(rest: str) -> str:
    """Return HOST:PORT, or "" for Ray on this machine."""
    found = re.fullmatch(r"//(?:([^/:\s]+:\d{1,5})/?)?", rest)
    if not found:
        raise DataError(
            f"'ray:{rest}' names no cluster of Ray.",
            "Use ray://HOST:PORT, whose port is 10001, or ray:// to start Ray on this machine.",
        )
    if find_spec("ray") is None:
        raise MissingExtraError.of("ray", "ray")
    return found[1] or ""


KIND: Final = ClusterKind(
    "ray", "ray://HOST:PORT", check=_check, open=lambda rest: RayWorkers(_check(rest))
)
