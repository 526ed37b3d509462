"""Progress of long work on stderr: one line on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..progress import Progress, silent
from .common import MANNERS

_FIRST = 1.0  # seconds of silence: short work shows nothing
_FIRST_LINE, _LAST_LINE = 5.0, 60.0  # between lines of a log; the pauses grow


@contextmanager
def progress(what: str, *, counted: bool = True) -> Iterator[Progress]:
    """Give a callable ``(done, total)`` that shows on stderr how far `what` is.

    Parameters
    ----------
    what : str
        Such as "Embedding".
    counted : bool, default=True
        Show numbers and their rate; else a percentage.
    """
    if MANNERS.quiet:
        yield silent
        return
    shown = _Display(Meter(what, counted))
    shown.start()
    try:
        yield shown.meter
    finally:
        shown.stop()


def tell_rates(shown: Progress) -> Callable[[Mapping[str, float]], None]:
    """Return who is to be told of the rate of each worker, of what `progress` gave."""
    return shown.tell_rates if isinstance(shown, Meter) else lambda workers: None


class Meter:
    """How far the work is, and how long the rest will take.

    Parameters
    ----------
    what : str
    counted : bool
    clock : callable, default=time.monotonic
    """

    def __init__(self, what: str, counted: bool, clock: Any = time.monotonic) -> None:
        self.what, self.counted, self._clock = what, counted, clock
        self.started = clock()
        self.done, self.total = 0.0, 0.0
        self.workers: Mapping[str, float] = {}
        self._times: list[float] = []  # of results, from the first one on
        self._dones: list[float] = []

    def __call__(self, done: float, total: float) -> None:
        """Be told that `done` of `total` is done."""
        if done < self.done or total != self.total:  # other work under the same name
            self._times, self._dones = [], []
        self.done, self.total = done, total
        now = self._clock()
        if done > 0 and (not self._times or now - self._times[-1] > 0.05):
            self._times.append(now)
            self._dones.append(done)

    def tell_rates(self, workers: Mapping[str, float]) -> None:
        """Be told how many units a second each worker does."""
        self.workers = dict(workers)

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return self._clock() - self.started

    @property
    def rate(self) -> float | None:
        """Units a second in the later half of the time since the first result.

        The time before that goes into starting, and would make the rest look long. None while
        there is too little to tell.
        """
        times, dones = list(self._times), list(self._dones)
        if len(times) < 2 or times[-1] - times[0] < 1:
            return None
        half = bisect_left(times, (times[0] + times[-1]) / 2)
        half = min(half, len(times) - 2)
        return (dones[-1] - dones[half]) / (times[-1] - times[half])

    @property
    def left(self) -> float | None:
        """Seconds that the rest will take, or None."""
        rate = self.rate
        if not rate or not self._times:
            return None
        since = self._clock() - self._times[-1]
        return max(0.0, (self.total - self.done) / rate - since)

    @property
    def share(self) -> float:
        """How much is done, from 0 to 1."""
        return self.done / self.total if self.total else 0.0

    def figures(self) -> str:
        """Return how far the work is, in words."""
        if not self.total:
            return duration(self.seconds)
        parts = [f"{self.share:.0%}"]
        if self.counted:
            parts = [f"{self.done:,.0f} of {self.total:,.0f}"]
            if self.rate:
                parts.append(f"{_figure(self.rate)}/s{each(self.workers)}")
        left = self.left
        parts.append(
            f"{duration(self.seconds)} so far" if left is None else f"{duration(left)} left"
        )
        return ", ".join(parts)


def each(workers: Mapping[str, float]) -> str:
    """Return the rate of each worker in few characters; of many only the least and the largest.

    Examples
    --------
    >>> each({"a:1": 20.4, "a:2": 21.0}), each(dict(zip("abcde", [19, 5.25, 21, 20, 18.0])))
    (' (20+21)', ' (5 at 5.2-21)')
    """
    rates = sorted(workers.values())
    if len(rates) < 2:
        return ""
    if len(rates) <= 4:
        return f" ({'+'.join(map(_figure, rates))})"
    return f" ({len(rates)} at {_figure(rates[0])}-{_figure(rates[-1])})"


def _figure(rate: float) -> str:
    return f"{rate:,.{0 if rate >= 10 else 1}f}"


def duration(seconds: float) -> str:
    """Return a time for people.

    Examples
    --------
    >>> duration(4.2), duration(130), duration(7500)
    ('4 s', '2 min 10 s', '2 h 5 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


class _Display:
    """Shows a meter from a thread of its own, so that it also moves within one long step."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._ended = threading.Event()
        self._stderr = sys.stderr
        show = self._bar if sys.stderr is not None and sys.stderr.isatty() else self._lines
        self._thread = threading.Thread(target=show, name="tlx-progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(timeout=2)

    def _bar(self) -> None:
        if self._ended.wait(_FIRST):
            return
        # While TensorFlow is imported, sys.stderr is another for a while. rich would give it back
        # at the end, when it is closed.
        while sys.stderr is not self._stderr:
            if self._ended.wait(0.2):
                return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24)]
        columns.append(TextColumn("{task.fields[figures]}", style="none"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(self.meter.what, total=None, figures="")
            while not self._ended.wait(0.2):
                total = self.meter.total or None
                bar.update(
                    task, completed=self.meter.done, total=total, figures=self.meter.figures()
                )

    def _lines(self) -> None:
        pause = _FIRST_LINE
        while not self._ended.wait(pause):
            if sys.stderr is not None:
                sys.stderr.write(f"{self.meter.what}: {self.meter.figures()}\n")
                sys.stderr.flush()
            pause = min(_LAST_LINE, 1.5 * pause)
