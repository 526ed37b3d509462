"""Engines that workers in other processes can import, and workers inside of the test's process."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import time
from collections import deque
from pathlib import Path

import numpy as np

from tlx.embed.clusters.pool import Answer, Ended, answer
from tlx.embed.threads import limit_threads


class Grid:
    """The mean colours over a grid of 4 by 4 fields, and what a test does meanwhile.

    Parameters
    ----------
    folder : Path, optional
        Whoever finds a file ``kill`` or ``stop`` in it takes it away and does so to itself.
        In its folder ``pids``, if there is one, each worker puts a file with its number as name.
    seconds : float, default=0
        How long an image takes.
    poison : float, optional
        Mean of an image that kills whoever sees it.
    """

    name = "grid"
    note = ""
    output_shape = (48,)

    def __init__(self, folder=None, seconds=0.0, poison=None):
        self.folder, self.seconds, self.poison = folder, seconds, poison

    def __call__(self, batch):
        if self.folder and Path(self.folder, "pids").is_dir():
            Path(self.folder, "pids", str(os.getpid())).touch()
        for order, sent in (("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)):
            if self.folder and _take(Path(self.folder, order)):
                os.kill(os.getpid(), sent)
        if self.poison is not None and (np.abs(batch.mean((1, 2, 3)) - self.poison) < 1e-9).any():
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds * len(batch))
        side = batch.shape[1] // 4
        fields = batch.reshape(len(batch), 4, side, 4, side, 3).mean((2, 4))
        return (fields.reshape(len(batch), 48) / 255).astype(np.float32)


def _take(path):
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


class Here:
    """Workers that are not there: this process does their work when it waits for them.

    Parameters
    ----------
    slots : int
    spoil : callable, optional
        ``spoil(number, answer)`` gives what comes back of the item given out as this one: another
        answer, a text if the worker was lost, or None if it never comes back.
    """

    def __init__(self, slots=2, spoil=lambda number, answer: answer):
        self.slots, self._spoil = slots, spoil
        self._queue, self._numbers = deque(), itertools.count()
        self.dropped, self.closed = [], False

    def begin(self, work, shared):
        self._work, self._shared = pickle.loads(pickle.dumps((work, shared)))

    def submit(self, item):
        number = next(self._numbers)
        self._queue.append((number, item))
        return number

    def wait(self, seconds):
        if not self._queue:
            time.sleep(0.01)
            return []
        number, item = self._queue.popleft()
        try:
            found = answer(self._work, self._shared, item, 1)
        finally:
            limit_threads(None)
        back = self._spoil(number, pickle.loads(pickle.dumps(found)))
        if back is None:
            return []
        return [Ended(number, back if isinstance(back, Answer) else None, str(back))]

    def drop(self, ticket):
        self.dropped.append(ticket)

    def close(self):
        self.closed = True


def twice(shared, item):
    """Return twice an item and what is shared."""
    return shared + 2 * item


def fail(shared, item):
    raise shared


def kill(shared, item):
    """End this process if a file is there, which is taken away."""
    if _take(Path(shared, str(item))):
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def stop(shared, item):
    """Halt this process if a file is there, which is taken away."""
    if _take(Path(shared, str(item))):
        os.kill(os.getpid(), signal.SIGSTOP)
    return os.getpid()


def threads(shared, item):
    """Return how many threads this worker may use, and which signals it ignores."""
    from tlx.embed.threads import limited_threads

    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    return limited_threads(), os.environ.get("OPENBLAS_NUM_THREADS"), ignored
