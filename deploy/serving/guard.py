"""What every request passes before the application sees it: who asks, how much, how slowly."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .metrics import Metrics
from .problem import FAILED, MEDIA_TYPE, ProblemError, busy
from .settings import Settings, is_loopback

# What tells nothing of the run: the page, to type a token on, and what watches over servers.
OPEN = frozenset(
    ("/", "/page.css", "/page.js", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready")
)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_log = logging.getLogger("tlx.serve")
_BODIES = 8  # so many largest requests may be on their way at once

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application around another one.

    Parameters
    ----------
    app : callable
    settings : Settings
    metrics : Metrics
    """

    def __init__(self, app: App, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._bytes = 0  # of all bodies on their way
        self._secret = None if settings.token is None else _hashed(settings.token.encode())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or let the application do so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        status, body, has_started = 500, _Body(self, receive), False

        async def send_safely(message: Message) -> None:
            nonlocal status, has_started
            if message["type"] == "http.response.start":
                status, has_started = message["status"], True
                message = {**message, "headers": [*message.get("headers", ()), *_SAFE]}
            await send(message)

        try:
            self.check(scope)
            await self._app(scope, body.receive, send_safely)
        except ProblemError as problem:
            await send_problem(problem, send_safely)
        except Exception:
            if has_started:
                raise
            _log.exception("A request could not be answered.")
            await send_problem(ProblemError(500, FAILED), send_safely)
        finally:
            self._bytes -= body.held
            route = getattr(scope.get("route"), "path", "other")  # as the application names it
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - start)

    def check(self, scope: Message) -> None:
        """Refuse a request by what its head says.

        Raises
        ------
        ProblemError
        """
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        settings = self._settings
        if settings.is_local and not settings.token and not is_loopback(_name_of(host)):
            # A page elsewhere whose name was made to lead to this machine.
            raise ProblemError(421, "This server answers to localhost and 127.0.0.1 alone.")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin.partition("://")[2] != host and origin not in settings.origins:
            raise ProblemError(403, "Pages from elsewhere may not use this server.")
        if self._secret is not None and scope["path"] not in OPEN:
            given = headers.get(b"authorization", b"")
            kind, _, token = given.partition(b" ")
            same = hmac.compare_digest(_hashed(token.strip()), self._secret)
            if not same or kind.lower() != b"bearer":
                raise ProblemError(
                    401,
                    "Send the token: Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": "Bearer"},
                )
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise ProblemError(415, "Send the body as it is, not compressed.")
        length = headers.get(b"content-length", b"0")
        if len(length) > 15 or int(length) > settings.max_bytes:
            raise self.too_large()

    def too_large(self) -> ProblemError:
        """Return the refusal of too large a request."""
        limit = self._settings.max_bytes / 2**20
        return ProblemError(413, f"A request may have at most {limit:g} MiB.")

    def take(self, n: int) -> None:
        """Count bytes that have arrived.

        Raises
        ------
        ProblemError
            If requests on their way have too many together.
        """
        if self._bytes + n > _BODIES * self._settings.max_bytes:
            raise busy("Too much is being sent at once. Come again in a second.")
        self._bytes += n

    @property
    def seconds(self) -> float:
        """In which a request must have arrived."""
        return self._settings.seconds

    @property
    def max_bytes(self) -> int:
        """Of a request."""
        return self._settings.max_bytes


class _Body:
    """The body of one request, as it arrives: counted and timed."""

    def __init__(self, guard: Guard, receive: Receive) -> None:
        self._guard, self._receive = guard, receive
        self._until = time.monotonic() + guard.seconds
        self._is_whole = False
        self.held = 0

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()  # waits for the client to go
        left = max(self._until - time.monotonic(), 0)
        try:
            message = await asyncio.wait_for(self._receive(), left)
        except asyncio.TimeoutError:
            raise ProblemError(
                408, f"A request must arrive within {self._guard.seconds:g} seconds.",
                {"Connection": "close"},
            ) from None  # fmt: skip
        n = len(message.get("body", b""))
        if self.held + n > self._guard.max_bytes:
            raise self._guard.too_large()
        self._guard.take(n)
        self.held += n
        self._is_whole = not message.get("more_body", False)
        return message


async def send_problem(problem: ProblemError, send: Send) -> None:
    """Send a refusal."""
    headers = {"Content-Type": MEDIA_TYPE, **problem.headers}
    await send({"type": "http.response.start", "status": problem.status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": problem.body})


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(k.lower().encode("ascii"), v.encode("latin-1")) for k, v in headers.items()]


_SAFE = _raw(HEADERS)


def _hashed(secret: bytes) -> bytes:
    """Return a digest of equal length whatever is compared, so that time tells nothing of it."""
    return hashlib.sha256(secret).digest()


def _name_of(host: str) -> str:
    """Return the host of a ``Host`` header without its port."""
    return host.rsplit("]", 1)[0].lstrip("[") if host.startswith("[") else host.split(":")[0]
