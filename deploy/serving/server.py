"""A server's processes: one or several workers on one socket, that end in order."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from ...cache.spec import FeatureSpec
from ...classify.opened import OpenedRun
from ...classify.runs.best import load_run
from ...embed.engines.openvino import is_converted
from ...errors import MissingExtraError, TlxError
from .metrics import MULTIPROCESS
from .settings import Settings, check_settings

GRACE = 8.0  # seconds for what is in flight once an end was asked for
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_HEAD = 16 * 1024  # bytes of a request's head
_SOON = 10.0  # a worker that ends sooner after its start is not started again

_log = logging.getLogger("tlx.serve")


def check_extra() -> None:
    """Refuse to go on without the packages of the extra.

    Raises
    ------
    MissingExtraError
    """
    for package in ("fastapi", "uvicorn", "python-multipart", "prometheus-client"):
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            raise MissingExtraError.of(package, "serve")


def serve(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve a run until the process is asked to end.

    Parameters
    ----------
    settings : Settings
    tell : callable
        Called with the address once the first inference is done.

    Raises
    ------
    DataError
        If the settings are unsafe: see `check_settings`.
    MissingExtraError
        If the extra ``serve`` is not installed.
    TlxError
        If the address cannot be listened to, or the run cannot be opened.
    """
    check_settings(settings)
    check_extra()
    with _listening(settings) as listening:
        _convert_apart(settings)
        if settings.workers == 1:
            with _counts_in(None):
                work(settings, listening, lambda: tell(address(listening)))
        else:
            _supervise(settings, listening, tell)


def _convert_apart(settings: Settings) -> None:
    """Convert a network that was never used here in a process of its own.

    TensorFlow, which that takes, stays in memory for as long as its process lives. What goes wrong
    there goes wrong again where it is told.
    """
    run = load_run(str(settings.run), trusted=settings.trusted)
    specs = [FeatureSpec.from_json(source["spec"]) for source in run.sources]
    if settings.engine == "tensorflow" or all(map(is_converted, specs)):
        return
    _log.warning("The network is converted, once for all: that takes half a minute.")
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_open_quietly, args=(settings,), daemon=True)
    _start(process)
    process.join()


def _start(process: Any) -> None:
    """Start a process without having it run the command's own script again, as it else would."""
    main = sys.modules["__main__"].__dict__
    script = main.get("__file__")
    if script is None or script.endswith(".py"):
        process.start()
        return
    del main["__file__"]
    try:
        process.start()
    finally:
        main["__file__"] = script


def _open_quietly(settings: Settings) -> None:
    with contextlib.suppress(TlxError):
        OpenedRun(load_run(str(settings.run), trusted=settings.trusted), settings.engine)


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        found = socket.create_server(
            (settings.host.strip("[]"), settings.port), family=family, backlog=256
        )
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise TlxError(
            f"{settings.host}:{settings.port} cannot be listened to: {why.lower()}.",
            "Use another --port, such as 8001, or 0 for any that is free.",
        ) from error
    with found:
        yield found


def address(listening: socket.socket) -> str:
    """Return the address of a server for people."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def work(settings: Settings, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests in this process until it is asked to end.

    Raises
    ------
    TlxError
        If the run cannot be opened.
    """
    import uvicorn
    from threadpoolctl import threadpool_limits

    from .app import make_app
    from .service import Service
    from .transport import impatient

    class Server(uvicorn.Server):
        """Ends without raising the signal again, which was answered by ending in order."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    for name, level in (("uvicorn.error", logging.ERROR), ("python_multipart", logging.CRITICAL)):
        logging.getLogger(name).setLevel(level)  # what hostile requests are is no news
    # The products here are small. Threads of BLAS wait for each other by spinning, and next to
    # decoding and inference that takes 40 ms instead of 0.2.
    threadpool_limits(1, "blas")
    service = Service(settings)
    config = uvicorn.Config(
        make_app(service),  # type: ignore[arg-type]
        http=impatient(settings.seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_HEAD,
        timeout_graceful_shutdown=int(GRACE),
    )
    asyncio.run(_run(Server(config), service.open, listening, ready))


async def _run(
    server: Any, load: Callable[[], None], listening: socket.socket, ready: Callable[[], None]
) -> None:
    """Answer at once, load meanwhile; what keeps it from loading ends the server."""

    async def opening() -> None:
        try:
            await asyncio.to_thread(load)
            ready()
        except BaseException:
            server.should_exit = True
            raise

    task = asyncio.create_task(opening())
    await server.serve(sockets=[listening])
    if task.done():
        task.result()


@contextlib.contextmanager
def _counts_in(folder: str | None) -> Iterator[None]:
    """Have what is started here count in a folder, or in its memory, whatever was set outside."""
    before = os.environ.pop(MULTIPROCESS, None)
    if folder is not None:
        os.environ[MULTIPROCESS] = folder
    try:
        yield
    finally:
        os.environ.pop(MULTIPROCESS, None)
        if before is not None:
            os.environ[MULTIPROCESS] = before


# Several workers


def _supervise(settings: Settings, listening: socket.socket, tell: Callable[[str], None]) -> None:
    """Start workers, replace what dies, and end them all when asked to."""
    context = multiprocessing.get_context("spawn")
    asked = threading.Event()
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in _SIGNALS}
    where = address(listening)
    with tempfile.TemporaryDirectory(prefix="tlx-serve-") as folder, _counts_in(folder):
        crew: list[_Worker] = []
        try:
            crew += [_Worker(context, settings, listening) for _ in range(settings.workers)]
            for worker in crew:
                worker.wait_until_ready(asked)
            if not asked.is_set():
                tell(where)
            while not asked.wait(0.2):
                _replace_the_dead(crew, context, settings, listening)
        finally:
            for worker in crew:
                worker.process.terminate()
            end = time.monotonic() + GRACE + 1.5
            for worker in crew:
                worker.process.join(max(end - time.monotonic(), 0.1))
                if worker.process.is_alive():
                    worker.process.kill()
                    worker.process.join()
            for number, handler in before.items():
                signal.signal(number, handler)


def _replace_the_dead(
    crew: list[_Worker], context: Any, settings: Settings, listening: socket.socket
) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    for place, worker in enumerate(crew):
        if worker.process.is_alive():
            continue
        if time.monotonic() - worker.started < _SOON:
            raise TlxError(
                f"a worker ended with code {worker.process.exitcode} soon after its start.",
                "Is there enough memory for so many --workers?",
            )
        _log.warning("A worker ended with code %s; another one starts.", worker.process.exitcode)
        mark_process_dead(worker.process.pid)  # what it had in its queue is gone
        crew[place] = _Worker(context, settings, listening)


class _Worker:
    """One process that answers."""

    def __init__(self, context: Any, settings: Settings, listening: socket.socket) -> None:
        self._told, theirs = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_work_for_another, args=(settings, listening, theirs), daemon=True
        )
        _start(self.process)
        theirs.close()
        self.started = time.monotonic()

    def wait_until_ready(self, asked: threading.Event) -> None:
        """Return when the first inference is done, or an end was asked for.

        Raises
        ------
        TlxError
            If the worker could not open the run.
        """
        while not asked.is_set():
            if not wait([self._told], 0.1):
                continue
            try:
                problem = self._told.recv()
            except EOFError:
                raise TlxError("a worker ended before it was ready.", "Try --workers 1.") from None
            if problem is not None:
                raise TlxError(*problem)
            return


def _work_for_another(settings: Settings, listening: socket.socket, told: Connection) -> None:
    """Be a worker: tell the first process how it goes, and end when that is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="tlx-parent", daemon=True).start()
    try:
        work(settings, listening, lambda: told.send(None))
    except TlxError as error:
        with contextlib.suppress(OSError):
            told.send((error.cause, error.remedy))
