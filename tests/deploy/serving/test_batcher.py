"""What waits is computed in small batches, each result goes to its own, and waiting is bounded."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tlx.deploy.serving.batcher import Batcher, QueueFullError


def test_what_gathers_while_one_batch_is_computed_is_the_next_one():
    sizes, gate = [], threading.Event()

    def compute(items):
        gate.wait(10)
        sizes.append(len(items))
        return [10 * item for item in items]

    async def use() -> list[int]:
        batcher = Batcher(compute, capacity=100)
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(batcher.submit(i)) for i in range(1, 21)]
        await asyncio.sleep(0.05)
        gate.set()
        found = await asyncio.gather(first, *others)
        await batcher.close()
        return found

    assert asyncio.run(use()) == [10 * i for i in range(21)]
    assert sizes == [1, 8, 8, 4]


def test_an_error_reaches_all_of_its_batch_and_no_other():
    def compute(items):
        if "bad" in items:
            raise MemoryError
        return items

    async def use() -> list:
        batcher = Batcher(compute, capacity=100)
        bad = await asyncio.gather(batcher.submit("bad"), return_exceptions=True)
        good = await batcher.submit("good")
        await batcher.close()
        return [*bad, good]

    error, good = asyncio.run(use())
    assert isinstance(error, MemoryError)
    assert good == "good"


def test_who_went_away_is_not_computed():
    seen, gate = [], threading.Event()

    def compute(items):
        gate.wait(10)
        seen.extend(items)
        return items

    async def use() -> None:
        batcher = Batcher(compute, capacity=100)
        tasks = [asyncio.create_task(batcher.submit(i)) for i in range(3)]
        await asyncio.sleep(0.05)
        late = asyncio.create_task(batcher.submit("late"))
        await asyncio.sleep(0.05)
        late.cancel()
        gate.set()
        await asyncio.gather(*tasks)
        await batcher.close()

    asyncio.run(use())
    assert seen == [0, 1, 2]


def test_places_are_bounded_and_given_back_but_an_empty_queue_takes_any_number():
    batcher = Batcher(list, capacity=4)
    with batcher.room(3):
        assert not batcher.is_full
        with pytest.raises(QueueFullError), batcher.room(2):
            pass
        with batcher.room(1):
            assert batcher.is_full
    assert batcher.held == 0
    with batcher.room(9):
        assert batcher.is_full
