"""What is fetched ahead: bounded in number and bytes, tried again, and given up in time."""

from __future__ import annotations

import threading
import time

import pytest

from tlx.embed import fetch
from tlx.embed.fetch import Fetched, fetch_ahead
from tlx.embed.trouble import FetchError
from tlx.errors import ImageError, StorageError

URLS = [f"s3://bucket/{number}.png" for number in range(200)]


def taken(found) -> dict[int, object]:
    """Return what came by its number, released at once."""
    rows = {}
    for number, file in found:
        rows[number] = file
        if isinstance(file, Fetched):
            rows[number] = file.error or file.data()
            file.release()
    return rows


def test_what_is_here_is_passed_on_in_its_order_at_once():
    files = ["a.png", b"bytes", "/b/c.png"]
    assert list(fetch_ahead(files)) == list(enumerate(files))
    assert not [thread for thread in threading.enumerate() if thread.name == "tlx-fetch"]


def test_each_is_fetched_once_and_at_most_32_at_a_time():
    asked, now, most, lock = [], [0], [0], threading.Lock()

    def read(url, *_):
        with lock:
            asked.append(url)
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)
        with lock:
            now[0] -= 1
        return url.encode()

    assert taken(fetch_ahead(URLS, read)) == {n: url.encode() for n, url in enumerate(URLS)}
    assert sorted(asked) == sorted(URLS)
    assert 1 < most[0] <= 32


def test_files_here_do_not_wait_for_those_elsewhere():
    free = threading.Event()

    def read(url, *_):
        free.wait(10)
        return b"1"

    found = fetch_ahead(["s3://bucket/1.png", "here.png"], read)
    assert next(found) == (1, "here.png")
    free.set()
    assert taken(found) == {0: b"1"}


def test_few_bytes_are_held(monkeypatch):
    monkeypatch.setattr(fetch, "HELD", 1000)
    read_so_far = []

    def read(url, *_):
        read_so_far.append(url)
        return bytes(500)

    found = fetch_ahead(URLS, read)
    held = [next(found)[1] for _ in range(2)]
    time.sleep(0.2)
    assert len(read_so_far) <= 2 + 32  # those that were under way when the room was full
    for one in held:
        assert isinstance(one, Fetched)
        one.release()
    assert len(taken(found)) == 198


def test_what_fails_for_now_is_tried_again():
    tries = {}

    def read(url, *_):
        tries[url] = tries.get(url, 0) + 1
        if tries[url] < 3 and url.endswith("7.png"):
            raise FetchError("busy", again=True)
        return b"1"

    assert set(taken(fetch_ahead(URLS[:20], read)).values()) == {b"1"}
    assert max(tries.values()) == 3


def test_what_fails_for_good_is_not():
    tries = []

    def read(url, *_):
        tries.append(url)
        raise FetchError("access is denied")

    rows = taken(fetch_ahead(URLS, read))
    assert len(tries) == len(rows) == 200
    assert {str(error) for error in rows.values()} == {"[Errno 0] access is denied"}


def test_after_a_time_it_is_told():
    def read(url, *_):
        raise FetchError("busy", again=True)

    rows = taken(fetch_ahead(URLS[:3], read, retry_seconds=0.1))
    assert len(rows) == 3


def test_a_server_that_is_gone_ends_the_work():
    def read(url, *_):
        raise FetchError("the server cannot be reached", again=True)

    with pytest.raises(StorageError, match=r"32 images one after another .* cannot be reached"):
        taken(fetch_ahead(URLS, read, retry_seconds=0))


def test_what_is_too_large_is_an_image_that_is_refused(monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 10)
    (error,) = taken(fetch_ahead(URLS[:1], lambda url, most, large: bytes(most))).values()
    assert isinstance(error, ImageError)


def test_whoever_stops_listening_does_not_wait_for_slow_servers():
    stop = threading.Event()

    def read(url, *_):
        if url.endswith("/0.png"):
            return b"1"
        stop.wait(30)
        raise FetchError("slow", again=True)

    found = fetch_ahead(URLS, read)
    next(found)
    started = time.monotonic()
    found.close()
    assert time.monotonic() - started < 5
    stop.set()
