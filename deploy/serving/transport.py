"""The connection itself: who opens one and says nothing, or too many, is cut off.

uvicorn waits for ever for the head of a request, and takes any number of connections.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from .problem import MEDIA_TYPE, ProblemError, busy

MOST = 512  # connections


def _response(problem: ProblemError) -> bytes:
    """Return a refusal as it is sent where no request was understood, or none is to be read."""
    body = problem.body
    head = {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        "X-Content-Type-Options": "nosniff",
        **problem.headers,
    }
    lines = [f"HTTP/1.1 {problem.status} {problem.title}"]
    lines += [f"{name}: {value}" for name, value in head.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def impatient(seconds: float) -> type[H11Protocol]:
    """Return the protocol of connections on which each request has so many seconds.

    Within them its head must be there; within twice as many all of it and the whole answer, so
    that who is only slow can be told so before.
    """

    class Impatient(H11Protocol):
        """HTTP/1.1 with an end to waiting."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            if len(self.connections) >= MOST:
                transport.write(_response(busy("Too many are connected. Come again in a second.")))
                transport.close()
                return
            super().connection_made(transport)
            # asyncio does so only for sockets that name their protocol. Else the body of an answer
            # waits for the client to confirm its head, which takes that 40 ms.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start()

        def data_received(self, data: bytes) -> None:
            if self.transport is None:  # refused
                return
            if self._timer is None:
                self._start()
            super().data_received(data)

        def eof_received(self) -> None:
            if self.transport is not None:
                super().eof_received()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            if self.transport is not None:
                super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self.transport.write(_response(ProblemError(400, "This is no request of HTTP/1.1.")))
            self.transport.close()

        def on_response_complete(self) -> None:
            self._stop()
            super().on_response_complete()
            if not self.cycle.response_complete:  # the next one was there already
                self._start()

        def _start(self) -> None:
            self._timer = self.loop.call_later(seconds, self._late, False)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self, again: bool) -> None:
            self._timer = None
            if not again and self.cycle is not None and not self.cycle.response_complete:
                self._timer = self.loop.call_later(seconds, self._late, True)
            else:
                self.transport.abort()

    return Impatient
