"""What all tests share: generated images, a light engine, and the real command in a process."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tlx

sys.path.insert(0, str(Path(__file__).parent / "cache"))  # for cache_helpers

ROOT = Path(tlx.__file__).parent
NOT_OF_THE_PACKAGE = {"tests", "benchmarks", "docs", "examples", "build", "demo"}
NOBODY = 65534

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # As in the background of a script; what the tests start would ignore Ctrl-C as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def source_files() -> list[Path]:
    """Return the source files of the package, which is the root and the folders of its parts."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("tlx is installed without its source tree")
    folders = {ROOT, *(path.parent for path in ROOT.glob("[a-z]*/**/__init__.py"))}
    own = [f for f in folders if not {*f.relative_to(ROOT).parts[:1]} & NOT_OF_THE_PACKAGE]
    return sorted(path for folder in own for path in folder.glob("*.py"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images that TLX_SHARED_DATA names."""
    named = os.environ.get("TLX_SHARED_DATA")
    if not named:
        pytest.skip("TLX_SHARED_DATA does not name the folder of the real test images")
    if not Path(named).is_dir():
        pytest.skip(f"TLX_SHARED_DATA names {named}, which is no folder")
    return Path(named)


def image_bytes(seed: object, kind: str = "PNG", size: tuple[int, int] = (40, 32)) -> bytes:
    """Return a small noisy picture around a colour; equal seeds give equal bytes."""
    rng = np.random.default_rng(zlib.crc32(str(seed).encode("utf-8", "surrogateescape")))
    colour = rng.integers(40, 216, 3)
    pixels = np.clip(rng.normal(colour, 25, (size[1], size[0], 3)), 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def class_image(label: str, number: int, size: tuple[int, int] = (40, 32)) -> bytes:
    """Return a PNG whose colour depends on its class, so that a head has something to learn."""
    colour = np.random.default_rng(zlib.crc32(label.encode())).integers(60, 196, 3)
    rng = np.random.default_rng(zlib.crc32(f"{label}/{number}".encode()))
    pixels = np.clip(rng.normal(colour + rng.normal(0, 15, 3), 30, (size[1], size[0], 3)), 0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Return the function that makes the bytes of one image from a seed."""
    return image_bytes


@pytest.fixture(scope="session")
def camera_photo() -> Callable[..., bytes]:
    """Return ``camera_photo(width, height, label, number)``, which gives a JPEG with edges."""

    def make(width: int, height: int, label: str = "amber", number: int = 0) -> bytes:
        coarse = Image.open(io.BytesIO(class_image(label, number, (24, 18))))
        pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        edges = 40 * (np.add.outer(np.arange(height) // 23, np.arange(width) // 31) % 2)
        buffer = io.BytesIO()
        Image.fromarray(np.clip(pixels + edges[..., None] - 20, 0, 255).astype(np.uint8)).save(
            buffer, "JPEG", quality=92
        )
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def class_folders() -> Callable[[Path, Mapping[str, int]], Path]:
    """Return a function that fills ``folder/<class>/<number>.png``."""

    def fill(folder: Path, counts: Mapping[str, int]) -> Path:
        for label, count in counts.items():
            (folder / label).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                path = folder / label / f"{number:04}.png"
                path.write_bytes(class_image(os.path.basename(label), number))
                os.utime(path, (1.7e9, 1.7e9))  # files written just now are read twice
        return folder

    return fill


class GridEngine:
    """An engine without a network: the mean colours over a grid of 4 by 4 fields.

    Attributes
    ----------
    seen : int
        How many images it has computed.
    """

    name = "grid"
    note = ""
    output_shape = (48,)

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.seen += len(batch)
        side = batch.shape[1] // 4
        fields = batch.reshape(len(batch), 4, side, 4, side, 3).mean((2, 4))
        return (fields.reshape(len(batch), 48) / 255).astype(np.float32)


@pytest.fixture(scope="session")
def make_grid() -> type[GridEngine]:
    """Return what makes a light engine."""
    return GridEngine


@pytest.fixture
def grid(make_grid) -> GridEngine:
    """Return a light engine."""
    return make_grid()


Tlx = Callable[..., "subprocess.CompletedProcess[str]"]


def _environment(cache: Path) -> dict[str, str]:
    # A process of a test keeps what it compiled, as one of a user does.
    hidden = ("PYTEST_", "COV_", "TF_CPP_", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    return {**kept, "TLX_CACHE_DIR": str(cache), "COLUMNS": "100", "PYTHONUTF8": "1"}


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of subprocesses; converted networks are built once by all workers.

    Where TLX_CACHE_DIR is set already, they are even kept from session to session.
    """
    kept = os.environ.get("TLX_CACHE_DIR")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return _environment(Path(kept or shared / "user-cache"))


class CommandServer:
    """The real command in processes that are forked from one which has NumPy imported already."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._files, self._lock = {name: folder / name for name in ("in", "out", "err")}, Lock()
        self._process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("command_server.py")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, arguments: list[str], cwd: Path, env: dict[str, str], given: str
    ) -> subprocess.CompletedProcess[str]:
        asked = {"arguments": arguments, "cwd": str(cwd), "env": env, "seconds": 300}
        files = {name: str(path) for name, path in self._files.items()}
        assert self._process.stdin
        assert self._process.stdout
        with self._lock:
            self._files["in"].write_text(given, "utf-8", errors="surrogateescape")
            print(json.dumps({**asked, **files}), file=self._process.stdin, flush=True)
            code = int(self._process.stdout.readline())
            out, err = (
                self._files[name].read_text("utf-8", errors="surrogateescape")
                for name in ("out", "err")
            )
        return subprocess.CompletedProcess(arguments, code, out, err)

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session")
def command_server(environment, tmp_path_factory) -> Iterator[CommandServer | None]:
    """Return what starts commands quickly; None where no process can be forked."""
    if not hasattr(os, "fork"):
        yield None
        return
    server = CommandServer(tmp_path_factory.mktemp("commands"), environment)
    yield server
    server.end()


@pytest.fixture(scope="session")
def run_tlx(environment: dict[str, str], command_server: CommandServer | None) -> Tlx:
    """Return ``run_tlx(*arguments, cwd=..., code=0)``: the real command in a real process.

    It asserts the exit code and returns the `subprocess.CompletedProcess`. The workspace is
    ``cwd/.tlx``, as it is for a user. Python itself is started anew only with ``fresh=True``, or
    where an option of `subprocess.run` asks for more than input and variables.
    """

    def run(
        *arguments: object, cwd: Path, code: int = 0, fresh: bool = False, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        typed, variables = list(map(str, arguments)), options.pop("env", {})
        given = options.pop("input", "")
        if command_server is None or fresh or options or any("PYTHON" in k for k in variables):
            process = subprocess.run(
                [sys.executable, "-m", "tlx", *typed],
                cwd=cwd,
                env={**environment, **variables},
                input=given,
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=300,
                check=False,
                **options,
            )
        else:
            process = command_server.run(typed, cwd, {**environment, **variables}, given)
        told = f"{arguments}\n--- stdout\n{process.stdout}\n--- stderr\n{process.stderr}"
        assert process.returncode == code, told
        return process

    return run


@pytest.fixture
def tlx(run_tlx: Tlx, tmp_path: Path) -> Tlx:
    """Return `run_tlx` with the test's own folder as the current one."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return run_tlx(*arguments, **{"cwd": tmp_path, **options})

    return run


@pytest.fixture(scope="session")
def python(environment: dict[str, str]) -> Callable[..., str]:
    """Return a function that runs code in a fresh interpreter and returns what it printed."""

    def run(code: str, *arguments: object, **options: Any) -> str:
        process = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
            **options,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    return run


@pytest.fixture
def deny() -> Iterator[Callable[[Path, int], None]]:
    """Return ``deny(path, mode)``, which sets permissions that bind the test too.

    They bind root only as somebody else, so a test under root becomes nobody until it ends.
    """
    changed: list[tuple[Path, int]] = []

    def set_mode(path: Path, mode: int) -> None:
        changed.append((path, path.stat().st_mode))
        path.chmod(mode)
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            for parent in path.absolute().parents:  # pytest's folders are for their owner only
                if not parent.stat().st_mode & 0o001:
                    changed.append((parent, parent.stat().st_mode))
                    parent.chmod(parent.stat().st_mode | 0o055)
            os.seteuid(NOBODY)

    try:
        yield set_mode
    finally:
        if hasattr(os, "getuid") and os.getuid() == 0:
            os.seteuid(0)
        for path, mode in reversed(changed):
            if path.exists():
                path.chmod(mode)
