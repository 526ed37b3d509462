"""Connections on which nothing comes are cut off; a broken one costs nobody else."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving_helpers import Server

from tlx.deploy.serving.transport import MOST

WHOLE = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
CUT = WHOLE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n")


def until_closed(served: Server, *sent: bytes) -> tuple[bytes, float]:
    """Send one piece after the answer to the other; return all answers, and seconds to the end."""
    answer, start = b"", time.monotonic()
    with socket.create_connection((served.host, served.port), 20) as line:
        for piece in sent:
            line.sendall(piece)
            if piece is not sent[-1]:
                while not answer.endswith(b"}"):
                    answer += line.recv(4000)
        with contextlib.suppress(ConnectionResetError):
            while piece := line.recv(4000):
                answer += piece
    return answer, time.monotonic() - start


@pytest.fixture(scope="module", autouse=True)
def dawdle(served) -> Iterator[Callable[..., tuple[bytes, float]]]:
    """Return ``dawdle(*sent)``, `until_closed` of connections that were all opened at the start."""
    with ThreadPoolExecutor() as pool:
        closed = {sent: pool.submit(until_closed, served, *sent) for sent in DAWDLING}
        yield lambda *sent: closed[sent].result()


HALF_OPEN = (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
DAWDLING = (*((half,) for half in HALF_OPEN), (WHOLE, b"GET"), (3 * WHOLE + CUT,))


def test_no_part_of_an_answer_waits_for_the_client_to_confirm_the_other(served):
    """Head and body are two packets; the second one would come 40 ms later."""
    line = http.client.HTTPConnection(served.host, served.port, timeout=10)
    times = []
    for _ in range(60):
        start = time.perf_counter()
        line.request("GET", "/v2/health/live")
        line.getresponse().read()
        times.append(time.perf_counter() - start)
    line.close()
    assert min(times[-20:]) < 0.03


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2_000_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_the_next_is_answered(served, head):
    answer = b""
    with socket.create_connection((served.host, served.port), 10) as line:
        line.settimeout(10)
        with contextlib.suppress(ConnectionError):  # it may close before all is sent
            line.sendall(head)
            while b"}" not in answer[-9:] and (piece := line.recv(4000)):  # it may stay open
                answer += piece
    assert answer == b"" or answer.split()[1].startswith(b"4")
    assert answer == b"" or b"application/problem+json" in answer
    assert served.get("/v2/health/ready").status == 200


def test_too_many_connections_are_told_to_come_later(start_server):
    server = start_server()
    lines = []
    try:
        for _ in range(MOST):
            lines.append(socket.create_connection((server.host, server.port), 10))
        refused = server.get("/v2/health/live")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "Too many are connected" in refused.json["detail"]
    finally:
        for line in lines:
            line.close()
    time.sleep(0.5)
    assert server.get("/v2/health/live").status == 200


@pytest.mark.parametrize("sent", HALF_OPEN)
def test_half_open_connections_are_closed_in_time(served, dawdle, sent):
    answer, seconds = dawdle(sent)
    assert answer == b""
    assert 1 < seconds < 6
    assert served.get("/v2/health/ready").status == 200


def test_a_second_request_may_not_dawdle_either(dawdle):
    answer, _ = dawdle(WHOLE, b"GET")
    assert answer.count(b"HTTP/1.1 200") == 1


def test_requests_sent_at_once_are_answered_in_turn_and_the_last_may_not_dawdle(dawdle):
    answer, seconds = dawdle(3 * WHOLE + CUT)
    assert seconds < 9
    assert answer.count(b"HTTP/1.1 200") == 3
