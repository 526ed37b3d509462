"""Requests to end: Ctrl-C, termination and hang-up, heard even within one long computation.

Python runs a signal's handler between two steps of the main thread, so within a call of NumPy's
that takes a minute it would be deaf for a minute. A thread is told of each signal at once, by the
interpreter's wake-up descriptor, and ends the process if the main thread has not heard in time.
What tlx keeps is written to a sibling and renamed, so an end leaves nothing half done.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import Any, NoReturn

INTERRUPTED = 130  # the exit code of all of them
_SAME = 0.25  # seconds: launchers such as timeout(1) send one request twice
_ENDS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


def listen(grace: float = 4.0, wind_up: float = 30.0) -> None:
    """Let requests to end raise `KeyboardInterrupt` here, in the main thread, or end the process.

    Ctrl-C and hang-up stay ignored where whoever started the process has them ignored, as ``nohup``
    and scripts do for jobs in the background; termination is always heard, and the second one
    ends the process at once.

    Parameters
    ----------
    grace : float, default=4
        Seconds after which the process is ended if a signal has not been heard in the main thread.
    wind_up : float, default=30
        Seconds that are left for finishing in order once termination was heard.
    """
    Listener(grace, wind_up).start()


def leave_to_others() -> None:
    """Watch no more over whether requests to end are heard: a server has handlers of its own."""
    signal.set_wakeup_fd(-1)


class Listener:
    """Who hears signals: handlers in the main thread, and a thread that watches over these."""

    def __init__(self, grace: float, wind_up: float) -> None:
        self._grace, self._wind_up = grace, wind_up
        self._heard: dict[int, float] = {}  # when, by signal, in the main thread
        self._asked: dict[int, float] = {}  # when first, by signal
        self._told, self._ear = socket.socketpair()

    def start(self) -> None:
        """Install the handlers and start the thread."""
        for number in (signal.SIGINT, *_ENDS):
            ignored = signal.getsignal(number) == signal.SIG_IGN
            if number == signal.SIGTERM or not ignored:
                signal.signal(number, self._interrupt)
        self._told.setblocking(False)
        signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget)
        threading.Thread(target=self._watch, name="tlx-signals", daemon=True).start()

    def _interrupt(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        last = max(self._heard.values(), default=-1e9)
        self._heard[number] = now
        if now - last > _SAME:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        deadline: float | None = None
        while True:
            self._ear.settimeout(
                None if deadline is None else max(deadline - time.monotonic(), 0.01)
            )
            try:
                numbers = self._ear.recv(64)
            except TimeoutError:
                deadline = self._overdue()
                continue
            for number in numbers:
                deadline = self._note(number) or deadline

    def _note(self, number: int) -> float | None:
        """Return when the signal must have been heard; end the process if it came before."""
        if number not in (signal.SIGINT, *_ENDS):
            return None
        now = time.monotonic()
        if number in _ENDS and now - self._asked.get(number, now) > _SAME:
            _end("Ended at once.")
        self._asked.setdefault(number, now)
        return now + self._grace

    def _overdue(self) -> float | None:
        """End the process if a signal was not heard, or return until when it has time."""
        # The main thread may have heard a little before the thread did.
        if any(self._heard.get(number, -1e9) < when - 1 for number, when in self._asked.items()):
            _end("Interrupted in the middle of a long computation. All finished work is kept.")
        ends = [first for number, first in self._asked.items() if number in _ENDS]
        self._asked.pop(signal.SIGINT, None)  # the next Ctrl-C is a new one
        if not ends:
            return None
        until = min(ends) + self._wind_up
        if time.monotonic() >= until:
            _end("Ended: it took too long to finish in order.")
        return until


def _forget() -> None:
    """Give a forked child the signals of any other process."""
    signal.set_wakeup_fd(-1)
    for number in _ENDS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(why: str) -> NoReturn:
    try:
        os.write(2, f"{why}\n".encode())
    finally:
        os._exit(INTERRUPTED)
