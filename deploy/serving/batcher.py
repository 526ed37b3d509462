"""Images that wait, in small batches to the one thread that computes; no more than so many wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any


class QueueFullError(Exception):
    """No more can wait."""


class Batcher:
    """Gives what waits to `compute`, at most `most` at once, as soon as that is free.

    Nothing is held back for a batch to fill: while one is computed the next one gathers, so a
    single image does not wait, and many share what a call costs.

    Parameters
    ----------
    compute : callable
        Maps a sequence of items to a sequence of results; called in one thread of its own.
    capacity : int
        Items that may be held at once, those being decoded and computed among them.
    most : int, default=8
        Items a batch.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Any]], Sequence[Any]],
        capacity: int,
        most: int = 8,
    ) -> None:
        self._compute, self._capacity, self._most = compute, capacity, most
        self._waiting: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tlx-compute")
        self._task: asyncio.Task[None] | None = None
        self.held = 0

    @property
    def is_full(self) -> bool:
        """Whether not one more can be held."""
        return self.held >= self._capacity

    @contextmanager
    def room(self, n: int) -> Iterator[None]:
        """Hold n places, of which each is for one item.

        Raises
        ------
        QueueFullError
            If there are not as many. An empty queue takes any number.
        """
        if self.held and self.held + n > self._capacity:
            raise QueueFullError
        self.held += n
        try:
            yield
        finally:
            self.held -= n

    async def submit(self, item: Any) -> Any:
        """Return the result of one item, once its batch was computed."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())
        result = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((item, result))
        return await result

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._most and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            batch = [one for one in batch if not one[1].cancelled()]
            if not batch:
                continue
            items = [item for item, _ in batch]
            try:
                found = await loop.run_in_executor(self._thread, self._compute, items)
            except Exception as error:  # whatever it is, those who wait must hear of it
                for _, result in batch:
                    if not result.done():
                        result.set_exception(error)
                continue
            for (_, result), one in zip(batch, found, strict=True):
                if not result.done():
                    result.set_result(one)

    async def close(self) -> None:
        """Stop; what still waits is never answered."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown(wait=False, cancel_futures=True)
