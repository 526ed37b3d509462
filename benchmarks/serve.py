"""`tlx serve` against what people write: FastAPI, `keras.Model.predict`, Pillow and uvicorn.

    python benchmarks/serve.py DATA [--seconds 5] [--repeats 3] [--workspace DIR]

DATA is a folder with one folder a class. Both servers are there all the time and are asked in turn,
with the same photos, by 1, 8 and 64 clients that each keep a connection; medians count. Ends with 1
where the server is less than 4 times as fast at 8 clients, its p99 is not below at each number of
clients, or a request fails but with 503.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

CLIENTS = (1, 8, 64)
TIMES = 4.0  # the throughput at 8 clients, of that of the others

OTHERS = """
import sys
import keras, numpy as np, uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

model = keras.saving.load_model(sys.argv[1])
size = model.input_shape[1]
app = FastAPI()

@app.post("/predict")
def predict(files: UploadFile):
    image = Image.open(files.file).convert("RGB").resize((size, size))
    probabilities = model.predict(np.asarray(image)[None], verbose=0)[0]
    return {"probabilities": probabilities.tolist()}

model.predict(np.zeros((1, size, size, 3), np.uint8), verbose=0)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""


def form(photo: bytes) -> tuple[bytes, dict[str, str]]:
    head = (
        b'--frontier\r\nContent-Disposition: form-data; name="files"; filename="photo.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n"
    )
    kind = {"Content-Type": "multipart/form-data; boundary=frontier"}
    return head + photo + b"\r\n--frontier--\r\n", kind


def ask(port: int, photos: list[bytes], clients: int, seconds: float) -> dict:
    """Let so many clients ask for so many seconds; return what became of it."""
    until = time.perf_counter() + seconds
    times: list[list[float]] = [[] for _ in range(clients)]
    states: list[list[int]] = [[] for _ in range(clients)]

    def client(number: int) -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        turn = number
        while time.perf_counter() < until:
            body, kind = form(photos[turn % len(photos)])
            turn += clients
            start = time.perf_counter()
            try:
                line.request("POST", "/predict", body, kind)
                answer = line.getresponse()
                answer.read()
                state = answer.status
            except OSError:
                state = 0
                line.close()
            states[number].append(state)
            if state == 200:
                times[number].append(time.perf_counter() - start)
            elif state == 503:
                time.sleep(0.1)

    start = time.perf_counter()
    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    found = sorted(t for each in times for t in each)
    said = [s for each in states for s in each]
    return {
        "rate": len(found) / took,
        "answered": len(found),
        "p50": 1e3 * found[len(found) // 2],
        "p99": 1e3 * found[min(int(0.99 * len(found)), len(found) - 1)],
        "busy": said.count(503),
        "failed": len(said) - said.count(200) - said.count(503),
    }


def processor_seconds(process: subprocess.Popen) -> float:
    """Return what a process has used of all processors, whatever else ran beside it."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_tlx(run: Path) -> tuple[subprocess.Popen, int, float]:
    """Return the server, its port, and the seconds until it was ready."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "tlx", "serve", str(run), "--port", "0", "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    address = json.loads(process.stdout.readline())["address"]
    return process, int(address.rsplit(":", 1)[1]), time.perf_counter() - start


def start_others(network: Path, folder: Path) -> tuple[subprocess.Popen, int]:
    script, port = folder / "others.py", 8765
    script.write_text(OTHERS)
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen([sys.executable, str(script), str(network), str(port)], env=quiet)
    for _ in range(600):
        time.sleep(0.2)
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
        except OSError:
            continue
        return process, port
    raise SystemExit("the other server does not start")


def make_run(data: Path, workspace: Path) -> Path:
    """Return the folder of a run of DATA's photos, in a process of its own as TensorFlow is big."""
    code = (
        "import sys, tlx\n"
        "from pathlib import Path\n"
        "data, workspace = sys.argv[1:]\n"
        "if not Path(workspace, 'datasets').exists(): tlx.embed_images(data, workspace=workspace)\n"
        "run = tlx.fit_head('logreg', workspace=workspace)\n"
        "run.as_keras().save(Path(workspace, 'network.keras'))\n"
        "print(run.folder.absolute())"
    )
    command = [sys.executable, "-c", code, str(data), str(workspace)]
    return Path(subprocess.check_output(command, text=True).splitlines()[-1])


def report(found: dict[tuple[str, int], list[dict]], ready: list[float]) -> int:
    """Print medians and what holds; return the exit code."""

    def median(name: str, clients: int, key: str) -> float:
        return statistics.median(one[key] for one in found[name, clients])

    def total(name: str, clients: int, key: str) -> int:
        return sum(one[key] for one in found[name, clients])

    print(f"ready after {statistics.median(ready):.2f} s")
    print("server     clients  photos/s   p50 ms   p99 ms   503  failed  processor ms")
    for name, clients in found:
        rate, p50, p99, used = (
            median(name, clients, key) for key in ("rate", "p50", "p99", "used")
        )
        print(
            f"{name:10}{clients:8}{rate:10.1f}{p50:9.1f}{p99:9.1f}"
            f"{total(name, clients, 'busy'):6}{total(name, clients, 'failed'):8}{used:14.1f}"
        )
    times = median("tlx", 8, "rate") / median("others", 8, "rate")
    slower = [n for n in CLIENTS if median("tlx", n, "p99") >= median("others", n, "p99")]
    failed = sum(total("tlx", n, "failed") for n in CLIENTS)
    print(f"at 8 clients {times:.1f} times as many photos; p99 is not lower at {slower or 'none'}")
    return int(times < TIMES or bool(slower) or failed > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workspace", type=Path, help="one that has the photos embedded")
    args = parser.parse_args()
    files = sorted(f for f in args.data.rglob("*") if re.search(r"\.(jpe?g|png)$", f.name, re.I))
    photos = [file.read_bytes() for file in files[:: max(len(files) // 200, 1)]]
    with tempfile.TemporaryDirectory() as folder:
        workspace = args.workspace or Path(folder, "ws")
        run = make_run(args.data, workspace)
        ready, started = [], []
        try:
            for _ in range(3):
                process, port, seconds = start_tlx(run)
                ready.append(seconds)
                started.append(process)
                if len(ready) < 3:
                    process.terminate()
                    process.wait()
            other, other_port = start_others(workspace / "network.keras", Path(folder))
            started.append(other)
            found: dict[tuple[str, int], list[dict]] = {}
            for _ in range(args.repeats):
                for clients in CLIENTS:
                    for name, server, where in (
                        ("tlx", process, port),
                        ("others", other, other_port),
                    ):
                        before = processor_seconds(server)
                        one = ask(where, photos, clients, args.seconds)
                        used = processor_seconds(server) - before
                        one["used"] = 1e3 * used / one["answered"]
                        found.setdefault((name, clients), []).append(one)
        finally:
            for process in started:
                process.terminate()
                process.wait()
    return report(found, ready)


if __name__ == "__main__":
    sys.exit(main())
