"""Who may ask, how much, and what is sent with every answer."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from pathlib import Path

import pytest
from serving_helpers import form

from tlx.deploy.serving.guard import Guard
from tlx.deploy.serving.metrics import Metrics
from tlx.deploy.serving.settings import Settings

SECRET = "a-secret-of-tests"
ELSEWHERE = {"Origin": "https://elsewhere.org"}


@pytest.fixture(scope="module")
def locked(start_server):
    """Return a server with a token, that a page elsewhere may use, and small limits."""
    return start_server(
        token=SECRET, origins=["https://friend.org"], max_bytes=200_000, seconds=1.0
    )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask_guard(app, origin: str = "") -> list:
    """Return the messages that answer a request, of a guard in this process."""
    sent: list = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"origin", origin.encode())]
    scope = {"type": "http", "path": "/", "headers": headers}
    guard = Guard(app, Settings(Path("run")), Metrics(["cat"]))
    asyncio.run(guard(scope, receive, send))
    return sent


async def answer_nothing(scope, receive, send):
    await send({"type": "http.response.start", "status": 204})


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://[", 403),
        ("http://[::1", 403),
        ("localhost", 403),
        ("http://localhost/", 403),
        ("http://localhost", 204),
    ],
)
def test_an_origin_that_is_none_is_one_from_elsewhere(origin, status):
    assert ask_guard(answer_nothing, origin)[0]["status"] == status


def test_whatever_fails_is_a_problem_that_tells_nothing_and_a_line_in_the_log(caplog):
    async def fail(*_):
        raise ValueError("/secret/path")

    with caplog.at_level(logging.ERROR, "tlx.serve"):
        start, body = ask_guard(fail)
    assert (start["status"], json.loads(body["body"])["status"]) == (500, 500)
    assert (b"content-type", b"application/problem+json") in start["headers"]
    assert b"secret" not in body["body"]
    assert "/secret/path" in caplog.text


def test_what_fails_in_the_middle_of_an_answer_is_not_answered_twice():
    async def fail(scope, receive, send):
        await answer_nothing(scope, receive, send)
        raise ValueError("too late")

    with pytest.raises(ValueError, match="too late"):
        ask_guard(fail)


@pytest.mark.parametrize("path", ["/metrics", "/v2", "/v2/model", "/v2/models/colours", "/nope"])
@pytest.mark.parametrize("token", [None, "", "wrong", SECRET[:-1], SECRET + "x", "\xff"])
def test_without_the_token_nothing_is_told(locked, path, token):
    answer = locked.get(path, {} if token is None else bearer(token))
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert b"colours" not in answer.body


def test_with_the_token_it_answers(locked, amber):
    assert locked.get("/metrics", bearer(SECRET)).status == 200
    assert locked.get("/v2/model", {"Authorization": f"bearer  {SECRET}"}).status == 200
    assert locked.predict(("a", amber), headers=bearer(SECRET)).status == 200
    assert locked.predict(("a", amber), headers={"Authorization": SECRET}).status == 401


def test_the_page_and_the_probes_are_open(locked):
    for path in ("/", "/page.js", "/docs", "/v2/health/live", "/v2/health/ready"):
        assert locked.get(path).status == 200


def test_pages_elsewhere_may_use_it_only_if_they_are_named(locked, served, amber):
    assert served.predict(("a", amber), headers=ELSEWHERE).status == 403
    assert "access-control-allow-origin" not in served.get("/").headers
    friend = {"Origin": "https://friend.org", **bearer(SECRET)}
    answer = locked.predict(("a", amber), headers=friend)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://friend.org"
    assert locked.predict(("a", amber), headers={**ELSEWHERE, **bearer(SECRET)}).status == 403
    asked = {"Origin": "https://friend.org", "Access-Control-Request-Method": "POST"}
    assert locked.ask("OPTIONS", "/predict", headers=asked).status == 200
    own = {"Origin": served.address}
    assert served.predict(("a", amber), headers=own).status == 200


def test_a_name_made_to_lead_here_is_refused(served, locked):
    for host, status in (
        ("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:80", 200), ("evil.org", 421), ("", 421),
    ):  # fmt: skip
        assert served.get("/", {"Host": host}).status == status
    assert locked.get("/", {"Host": "example.org"}).status == 200


def test_too_much_is_refused_by_what_it_claims_and_by_what_it_has(locked):
    claims = {"Content-Length": str(10**9), "Content-Type": "multipart/form-data; boundary=x"}
    assert locked.ask("POST", "/predict", b"", {**claims, **bearer(SECRET)}).status == 413
    body, kind = form(("a", bytes(300_000)))
    with socket.create_connection((locked.host, locked.port), 5) as line:
        line.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            + f"Content-Type: {kind}\r\nAuthorization: Bearer {SECRET}\r\n\r\n".encode()
        )
        line.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_compressed_body_is_refused(served):
    headers = {"Content-Encoding": "gzip", "Content-Type": "multipart/form-data; boundary=x"}
    assert served.ask("POST", "/predict", b"x", headers).status == 415


def test_who_sends_a_body_too_slowly_is_told(locked):
    start = time.monotonic()
    with socket.create_connection((locked.host, locked.port), 10) as line:
        line.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nAuthorization: "
            + f"Bearer {SECRET}\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n--".encode()
        )
        assert line.recv(100).startswith(b"HTTP/1.1 408 ")
        while line.recv(1000):
            pass
    assert time.monotonic() - start < 5
