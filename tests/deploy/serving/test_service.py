"""A run behind a server: until it is open it says so, and when it is full as well."""

from __future__ import annotations

import asyncio
import io
import logging
import threading

import numpy as np
import pytest

from tlx.deploy.serving.problem import ProblemError
from tlx.deploy.serving.service import Photo, Service
from tlx.deploy.serving.settings import Settings


@pytest.fixture
def service(run_folder, make_grid, monkeypatch) -> Service:
    """Return the run with the light engine, not open yet, and room for two."""
    monkeypatch.setattr("tlx.classify.opened.load_engine", lambda *_: make_grid())
    monkeypatch.setattr("tlx.classify.opened.run_backbone", lambda *_: None)
    return Service(Settings(run_folder, queue=2))


def test_it_is_ready_after_the_first_inference_and_not_before(service, amber):
    assert not service.is_ready
    with pytest.raises(ProblemError, match="being loaded") as caught:
        service.check_room()
    assert caught.value.headers["Retry-After"] == "1"
    service.open()
    assert service.is_ready
    service.check_room()


def test_more_than_it_has_room_for_is_told_to_come_later(service, amber):
    async def use():
        photos = [Photo("a", io.BytesIO(amber))]
        first = asyncio.create_task(service.predict([Photo("a", io.BytesIO(amber))] * 2))
        await asyncio.sleep(0)
        with pytest.raises(ProblemError) as caught:
            await service.predict(photos)
        await first
        again = await service.predict([Photo("b", io.BytesIO(amber))])
        await service.close()
        return caught.value.status, again

    service.open()
    status, again = asyncio.run(use())
    assert status == 503
    assert again["predictions"][0]["label"] == "amber"


def test_places_are_held_until_every_photo_of_a_request_is_done(service, amber):
    class Broken(io.BytesIO):
        def read(self, *_):
            raise OSError("the disk is gone")

    class Slow(io.BytesIO):
        def read(self, *_):
            going_on.wait(10)
            return amber

    going_on = threading.Event()

    async def use():
        photos = [Photo("broken", Broken()), Photo("slow", Slow())]
        asked = asyncio.create_task(service.predict(photos))
        await asyncio.wait([asked], timeout=0.2)
        held = service.batcher.held
        going_on.set()
        with pytest.raises(OSError, match="the disk is gone"):
            await asked
        left = service.batcher.held
        await service.close()
        return held, left

    service.open()
    assert asyncio.run(use()) == (2, 0)


def test_images_of_something_else_are_told_in_the_log(service, caplog):
    async def use():
        noise = np.random.default_rng(0).integers(0, 256, (60, 224, 224, 3), np.uint8)
        for one in noise:
            one[::2] = 0
            one[:112, :, 1] = 255
            await service.infer(one[None])
        await service.close()

    service.open()
    with caplog.at_level(logging.WARNING, "tlx.serve"):
        asyncio.run(use())
    (told,) = caplog.messages
    assert "are like nothing the run learned from" in told
    assert b"tlx_stranger_share 1.0" in service.metrics.page()
