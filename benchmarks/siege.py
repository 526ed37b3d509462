"""What `tlx serve` withstands: hostile requests, and hours of good ones.

    python benchmarks/siege.py RUN PHOTO [--requests 10000] [--seed 0]
    python benchmarks/siege.py RUN PHOTO --soak 600

RUN is the folder of a run, PHOTO one that it can read. All of it is on loopback, and the server is
started here. The siege sends cut and garbage images, bombs, wrong types, huge headers and fields,
half-open connections, wrong tokens and no HTTP at all; ends with 1 if an answer is 5xx but 503, the
process ends, or the photo is answered otherwise than before. The soak asks with 8 clients; ends
with 1 if the memory after it is more than 5% above that after the first minute (the first tenth of
a shorter one).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

TOKEN = "a-token-under-siege"
OPEN_AT_ONCE = 100  # half-open connections
BIGGEST = 1.05


def http_request(
    body: bytes,
    path: str = "/predict",
    kind: str = "multipart/form-data; boundary=frontier",
    token: str = TOKEN,
    more: bytes = b"",
) -> bytes:
    """Return a whole request that closes its connection."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode("latin-1") + more + b"\r\n" + body


def form(*files: bytes, name: bytes = b"photo.jpg") -> bytes:
    part = (
        b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
    )
    return b"".join(part % (name, file) for file in files) + b"--frontier--\r\n"


def png(width: int, height: int, data: bytes) -> bytes:
    """Return a PNG whose header claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
    )  # fmt: skip


class Siege:
    """Draws hostile requests.

    Parameters
    ----------
    photo : bytes
        A good one.
    model : str
        Name of the run.
    seed : int
    """

    def __init__(self, photo: bytes, model: str, seed: int) -> None:
        self.photo, self.infer, self.rng = photo, f"/v2/models/{model}/infer", random.Random(seed)

    def draw(self) -> tuple[str, bytes]:
        """Return a kind and a request of that kind."""
        kinds: list[Callable[[], bytes]] = [
            self.cut, self.flipped, self.garbage, self.bomb, self.form_that_is_none, self.headers,
            self.fields, self.token, self.tensors, self.texts, self.no_http, self.lie, self.path,
        ]  # fmt: skip
        kind = self.rng.choice(kinds)
        return kind.__name__, kind()

    def cut(self) -> bytes:
        return http_request(form(self.photo[: self.rng.randrange(len(self.photo))]))

    def flipped(self) -> bytes:
        data = bytearray(self.photo)
        for _ in range(self.rng.randint(1, 50)):
            data[self.rng.randrange(len(data))] = self.rng.randrange(256)
        return http_request(form(bytes(data)))

    def garbage(self) -> bytes:
        heads = [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM",
            b"II*\0",
            b"RIFF....WEBP",
            b"",
        ]
        noise = self.rng.randbytes(self.rng.randrange(3000))
        return http_request(form(*(head + noise for head in heads), name=noise[:80].hex().encode()))

    def bomb(self) -> bytes:
        side = self.rng.choice([30_000, 2**31 - 1, 0])
        jpeg = bytearray(self.photo)
        place = jpeg.find(b"\xff\xc0")
        if place > 0:
            jpeg[place + 5 : place + 9] = b"\xff\xdc\xff\xdc"  # 65,500 by 65,500
        gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\xf7\0\0" + bytes(768) + b";"
        return http_request(form(png(side, side, bytes(10**6)), bytes(jpeg), gif))

    def form_that_is_none(self) -> bytes:
        body = self.rng.choice(
            [b"", b"--frontier", b"--frontier\r\n\r\n", form()[:-4], self.rng.randbytes(500),
             b"--frontier\r\n" * 1000, b'--frontier\r\nContent-Disposition: form-data; name="',
             form(b"x", name=b"\xff")]
        )  # fmt: skip
        kind = self.rng.choice(
            ["multipart/form-data; boundary=frontier", "multipart/form-data", "application/json",
             "multipart/form-data; boundary=" + "b" * 5000, "text/plain",
             "multipart/form-data; boundary=\xff",
             "multipart/form-data; boundary=frontier; charset=undefined",
             "multipart/form-data; boundary=frontier; charset=punycode"]
        )  # fmt: skip
        return http_request(body, kind=kind)

    def headers(self) -> bytes:
        n = self.rng.choice([10, 100, 1000, 20_000])
        many = b"".join(b"X-%d: y\r\n" % i for i in range(n))
        one = b"X: " + b"z" * 20 * n + b"\r\n"
        odd = b"Content-Encoding: gzip\r\nOrigin: null\r\nTransfer-Encoding: \r\n"
        origin = b"Origin: " + self.rng.choice([b"http://[", b"://", b"\xff", b"x" * 999]) + b"\r\n"
        return http_request(form(self.photo), more=self.rng.choice([many, one, odd, origin]))

    def fields(self) -> bytes:
        field = b'--frontier\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        n = self.rng.choice([10, 1000, 100_000])
        many = field % (b"f", b"v") * min(n, 3000)
        big = field % (b"n" * n, b"v" * 10 * n)
        files = form(*[b"x"] * min(n, 1000))
        return http_request(self.rng.choice([many, big, b""]) + files)

    def token(self) -> bytes:
        wrong = self.rng.choice(["", TOKEN[:-1], TOKEN + "x", "x" * 5000, "\xff\xfe"])
        return http_request(form(self.photo), token=wrong)

    def tensors(self) -> bytes:
        tensor = {
            "name": self.rng.choice(["image", "x", None]),
            "shape": self.rng.choice([[1, 224, 224, 3], [-1] * 4, [2**62] * 4, "x", [1.5], [[1]]]),
            "datatype": self.rng.choice(["UINT8", "FP32", 7]),
            "data": self.rng.choice([[1], "x", None, [[1], [2, 3]], [1e999], {"a": 1}]),
        }
        body = self.rng.choice(
            [json.dumps({"inputs": [tensor]}).encode(), b"[" * 50_000, b"{", b"\xff", b"null",
             b'{"inputs": ' * 2000]
        )  # fmt: skip
        length = self.rng.choice([b"", b"Inference-Header-Content-Length: 99999999\r\n",
                                  b"Inference-Header-Content-Length: -5\r\n"])  # fmt: skip
        return http_request(body, self.infer, "application/json", more=length)

    def texts(self) -> bytes:
        """Return a tensor of the right shape with a text that is as long as an array is wide."""
        text = "x" * self.rng.choice([1, 1000, 10**6])
        tensor = {"name": "image", "shape": [1, 224, 224, 3], "datatype": "UINT8"}
        data = [text, *[0] * (224 * 224 * 3 - 1)]
        body = json.dumps({"inputs": [{**tensor, "data": data}]}).encode()
        return http_request(body, self.infer, "application/json")

    def no_http(self) -> bytes:
        return self.rng.choice(
            [self.rng.randbytes(2000), b"\x16\x03\x01\x02\0\x01\0",
             b"GET / HTTP/1.1\r\n" * 500 + b"\r\n",
             b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 5000, b"GET / HTTP/1.1\r\n\r\n"]
        )  # fmt: skip

    def lie(self) -> bytes:
        """Return a request that claims more than it has, or has what it should not claim."""
        whole = http_request(form(self.photo))
        length = b"Content-Length: " + str(len(form(self.photo))).encode()
        claim = self.rng.choice([b"99999999999", b"-1", b"1e9", b"0", b"9" * 500, b"12, 13"])
        chunked = b"Transfer-Encoding: chunked"
        return self.rng.choice(
            [whole.replace(length, b"Content-Length: " + claim), whole.replace(length, chunked)]
        )

    def path(self) -> bytes:
        path = self.rng.choice(
            ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page.js/../../../settings.py",
             "/v2/models/..%2f..%2fetc", "/" + "a" * 10_000, "/predict%00",
             "//evil.org/predict", "*"]
        )  # fmt: skip
        return http_request(form(self.photo), path)


def send(port: int, request: bytes) -> int:
    """Return the status of the answer; 0 if the connection was closed without one."""
    try:
        with socket.create_connection(("127.0.0.1", port), 30) as line:
            answer = b""
            with contextlib.suppress(ConnectionError):
                line.sendall(request)
            with contextlib.suppress(ConnectionError):
                while len(answer) < 12 and (piece := line.recv(4096)):
                    answer += piece
    except ConnectionError:
        return 0
    words = answer.split(b" ", 2)
    return int(words[1][:3]) if len(words) > 1 and words[0].startswith(b"HTTP/") else 0


def besiege(port: int, siege: Siege, count: int, threads: int = 8) -> collections.Counter:
    """Send hostile requests from several threads, with half-open connections beside; count them."""
    found: collections.Counter[tuple[str, int]] = collections.Counter()
    lock, left = threading.Lock(), [count]
    open_: collections.deque[socket.socket] = collections.deque()

    def attack() -> None:
        while True:
            with lock:
                if not left[0]:
                    return
                left[0] -= 1
                half_open = siege.rng.random() < 0.1
                kind, request = siege.draw()
            if half_open:
                kind, status = "half-open", 0
                with contextlib.suppress(OSError):
                    line = socket.create_connection(("127.0.0.1", port), 30)
                    line.sendall(request[: len(request) // 2])
                    open_.append(line)
                if len(open_) > OPEN_AT_ONCE:
                    open_.popleft().close()
            else:
                status = send(port, request)
            with lock:
                found[kind, status] += 1

    workers = [threading.Thread(target=attack) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for line in open_:
        line.close()
    return found


@contextlib.contextmanager
def server(run: Path) -> Iterator[tuple[subprocess.Popen, int]]:
    """Start `tlx serve`; end it in order, which has to take less than 10 seconds."""
    command = [
        sys.executable,
        "-m",
        "tlx",
        "serve",
        str(run),
        "--port",
        "0",
        "--json",
        "--timeout",
        "5",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TLX_TOKEN": TOKEN}
    )
    try:
        assert process.stdout is not None
        yield process, int(json.loads(process.stdout.readline())["address"].rsplit(":", 1)[1])
        process.terminate()
        process.wait(10)
    finally:
        process.kill()
        process.wait()


def predict(line: http.client.HTTPConnection, photo: bytes) -> dict:
    head = {
        "Content-Type": "multipart/form-data; boundary=frontier",
        "Authorization": f"Bearer {TOKEN}",
    }
    line.request("POST", "/predict", form(photo), head)
    return json.loads(line.getresponse().read())


def memory(process: subprocess.Popen) -> float:
    """Return the memory of a process in MiB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run_siege(run: Path, photo: bytes, count: int, seed: int) -> int:
    with server(run) as (process, port):
        before = predict(http.client.HTTPConnection("127.0.0.1", port, timeout=60), photo)
        start, had = time.perf_counter(), memory(process)
        found = besiege(port, Siege(photo, run.name, seed), count)
        took = time.perf_counter() - start
        for kind in sorted({kind for kind, _ in found}):
            counts = {status: n for (k, status), n in sorted(found.items()) if k == kind}
            print(f"{kind:20}" + "  ".join(f"{s or 'closed'} {n}" for s, n in counts.items()))
        same = predict(http.client.HTTPConnection("127.0.0.1", port, timeout=60), photo) == before
        bad = sum(n for (_, status), n in found.items() if status >= 500 and status != 503)
        lives = process.poll() is None
        print(
            f"{count} requests in {took:.0f} s: {bad} answers of 5xx but 503; the server "
            f"{'lives' if lives else 'is gone'} and answers as before: {same}; "
            f"{had:.0f} MiB before, {memory(process):.0f} after"
        )
    return int(bad > 0 or not lives or not same)


def run_soak(run: Path, photo: bytes, seconds: float, clients: int = 8) -> int:
    with server(run) as (process, port):
        until, counts = time.monotonic() + seconds, [0] * clients

        def ask(number: int) -> None:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            while time.monotonic() < until:
                predict(line, photo)["predictions"]
                counts[number] += 1

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(clients)]
        for thread in threads:
            thread.start()
        time.sleep(min(60, seconds / 10))
        first = memory(process)
        for thread in threads:
            thread.join()
        last = memory(process)
    print(
        f"{sum(counts)} photos in {seconds:.0f} s: {first:.1f} MiB after the first minute, "
        f"{last:.1f} at the end ({last / first - 1:+.1%})"
    )
    return int(last > BIGGEST * first)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--soak", type=float, metavar="SECONDS")
    args = parser.parse_args()
    photo = args.photo.read_bytes()
    if args.soak:
        return run_soak(args.run, photo, args.soak)
    return run_siege(args.run, photo, args.requests, args.seed)


if __name__ == "__main__":
    sys.exit(main())
