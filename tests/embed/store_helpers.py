"""A real S3 server on loopback, and a proxy before it that can fail in many ways."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDSECRETSECRET",
    "AWS_SECRET_ACCESS_KEY": "TOPSECRETTOPSECRET",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/nowhere",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
}

# What is to become of the n-th request of a kind: "", or one of the faults that `_Forward` knows.
Plan = Callable[[str, str, int], str]


def error_body(code: str) -> bytes:
    text = f"<Error><Code>{code}</Code><Message>SECRET words of the server</Message></Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        pass  # clients that hang up


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on loopback; the value is the URL."""
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class Proxy:
    """Forwards requests to a server, or fails as planned.

    Attributes
    ----------
    url : str
    counts : Counter
        Of requests, by (method, path without query).
    """

    def __init__(self, target: str) -> None:
        self.target, self.url = target.removeprefix("http://"), ""
        self.counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Fail no more, and count from nothing."""
        self.counts.clear()
        self.plan: Plan = lambda method, path, n: ""
        self.before: Callable[[str, str], None] = lambda method, path: None

    def gets(self, suffix: str = ".png") -> Counter[str]:
        """Return how often each object was fetched."""
        return Counter(
            {
                path: n
                for (method, path), n in self.counts.items()
                if method == "GET" and path.endswith(suffix)
            }
        )

    def count(self, method: str, path: str) -> int:
        with self._lock:
            self.counts[method, path] += 1
            return self.counts[method, path]


@contextlib.contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """Yield a proxy before the server at `target`."""
    proxy = Proxy(target)

    class Forward(_Quiet):
        def _handle(self) -> None:
            path = self.path.partition("?")[0]
            fault = proxy.plan(self.command, path, proxy.count(self.command, path))
            proxy.before(self.command, path)
            if fault == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.close()
            elif fault == "301":
                self.answer(
                    301,
                    error_body("PermanentRedirect"),
                    x_amz_bucket_region="eu-central-1",
                )
            elif fault:
                self._fail(fault)
            else:
                self._forward("")

        def _fail(self, fault: str) -> None:
            codes = {"503": "SlowDown", "500": "InternalError", "403": "AccessDenied"}
            if fault in codes:
                self.answer(int(fault), error_body(codes[fault]))
            elif fault in ("slow", "truncated"):
                self._forward(fault)
            else:
                self.answer(403, error_body(fault))

        def _forward(self, fault: str) -> None:
            connection = http.client.HTTPConnection(proxy.target, timeout=30)
            length = int(self.headers.get("Content-Length") or 0)
            kept = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
            connection.request(self.command, self.path, self.rfile.read(length), kept)
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            said = answer.headers.get("Content-Length", str(len(body)))
            self.send_header("Content-Length", said if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            connection.close()
            if self.command == "HEAD":
                return
            half = len(body) // 2
            self.wfile.write(body[:half])
            if fault == "truncated":
                self.close_connection = True
                return
            if fault == "slow":
                self.wfile.flush()
                time.sleep(0.3)
            self.wfile.write(body[half:])

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

    with serving(Forward) as proxy.url:
        yield proxy


@contextlib.contextmanager
def web_folder(folder: Path, *, etags: bool = True, heads: bool = True) -> Iterator[Any]:
    """Serve a folder as a web server does; the value has `url`, and `asked`, the requests."""

    class Asked:
        url = ""
        asked: list[tuple[str, str]] = []  # noqa: RUF012 - one server
        headers: list[dict[str, str]] = []  # noqa: RUF012

    class Handler(_Quiet):
        def do_GET(self) -> None:
            Asked.asked.append((self.command, self.path))
            Asked.headers.append(dict(self.headers))
            path = http_path(self.path)
            if path.startswith("to/"):
                self.answer(302, Location=self.path.partition("/to/")[2])
                return
            if self.command == "HEAD" and not heads:
                self.answer(403)
                return
            file = folder / path
            if not file.is_file():
                self.answer(404)
                return
            body = file.read_bytes()
            headers = {"ETag": f'"{hash(body):x}"'} if etags else {}
            if self.headers.get("Range") == "bytes=0-0":
                self.answer(206, body[:1], Content_Range=f"bytes 0-0/{len(body)}", **headers)
            else:
                self.answer(200, body, **headers)

        do_HEAD = do_GET  # noqa: N815

    with serving(Handler) as Asked.url:
        yield Asked


def http_path(target: str) -> str:
    from urllib.parse import unquote

    return unquote(target.partition("?")[0].lstrip("/"))
