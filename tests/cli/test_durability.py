"""The real command, killed, starved, interrupted and crowded: nothing committed is ever lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.cache.store import FeatureStore
from tlx.upkeep import verify_cache
from tlx.workspace import Workspace

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX signals")

Features = dict[bytes, bytes]


def features_of(folder: Path, name: str = "data") -> Features:
    """All stored features of the spec embedded last, by digest, whatever the manifest says."""
    spec = Manifest.load(folder / ".tlx" / "datasets" / f"{name}.h5").sources[-1]["spec"]
    return stored(folder, spec)


def stored(folder: Path, spec: str) -> Features:
    store = FeatureStore(folder / ".tlx" / "cache", spec)
    digests = sorted(store.digests())
    found = dict(zip(digests, (row.tobytes() for row in store.gather(digests)), strict=True))
    assert not store.problems
    return found


@dataclass
class Undisturbed:
    """What a run that nobody disturbs leaves, and how long it takes."""

    data: Path
    images: int
    spec: str
    features: Features
    seconds: float  # from the start of the process to its end
    first: float  # from the start of the process to the first shard


@pytest.fixture(scope="module")
def start(environment) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts the real command in a folder."""

    def run(*arguments: object, cwd: Path, **options: Any) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = [sys.executable, "-m", "tlx", *map(str, arguments)]
        return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **options)

    return run


def watch(process: subprocess.Popen[str], folder: Path) -> float:
    """Return when the first shard is there, in seconds from now, or when the process ended."""
    started = time.monotonic()
    while process.poll() is None and not list(folder.glob(".tlx/cache/*/[!.]*.h5")):
        time.sleep(0.005)
    return time.monotonic() - started


@pytest.fixture(scope="module")
def undisturbed(real_project, tmp_path_factory, class_folders, start) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    data = class_folders(folder / "data", {"amber": 24, "blue": 24})
    started = time.monotonic()
    process = start("embed", "data", "--checkpoint-seconds", "0.05", cwd=folder)
    first = watch(process, folder)
    _, err = process.communicate(timeout=300)
    seconds = time.monotonic() - started
    assert process.returncode == 0, err
    spec = Manifest.load(folder / ".tlx" / "datasets" / "data.h5").sources[-1]["spec"]
    features = stored(folder, spec)
    assert len(features) == 48
    return Undisturbed(data, 48, spec, features, seconds, first)


# Killed


class Terminal:
    """A pseudo-terminal as standard error, on which the command shows its progress bar."""

    def __init__(self) -> None:
        self._reader, self.writer = os.openpty()
        self._text = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._reader, 65536)
            except OSError:  # the other side is closed
                return
            if not data:
                return
            self._text += data.decode("utf-8", "replace")

    def shown(self) -> int:
        """How many images the bar has said to be done."""
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._text)
        return max(
            (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) of [\d,]", plain)), default=0
        )

    def close(self) -> int:
        os.close(self.writer)
        self._thread.join(5)
        os.close(self._reader)
        return self.shown()


def kill_once(
    undisturbed: Undisturbed, start: Callable, folder: Path, after: float, seal: float
) -> bool:
    """Kill one run, look at what is there; return whether it was killed before it was done."""
    before = stored(folder, undisturbed.spec)
    terminal = Terminal()
    process = start(
        *("embed", undisturbed.data, "--checkpoint-seconds", seal),
        cwd=folder,
        stderr=terminal.writer,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after)
    process.kill()
    process.communicate()
    shown = terminal.close()
    after_it = stored(folder, undisturbed.spec)
    assert before.items() <= after_it.items(), "committed features are gone or changed"
    assert after_it.items() <= undisturbed.features.items(), "other features than undisturbed"
    if seal == 0:
        # Each row is a seal: what the bar called done is never computed again. One row of these
        # may have been there, sealed but not in the manifest, so that it was read once more.
        assert len(after_it) - len(before) >= shown - (1 if before else 0)
    assert verify_cache(Workspace(folder / ".tlx")).ok
    return process.returncode == -signal.SIGKILL


def finish(undisturbed: Undisturbed, run_tlx: Callable, folder: Path) -> None:
    """Let a last run end, and compare all with what an undisturbed one leaves."""
    there = len(stored(folder, undisturbed.spec))
    told = json.loads(run_tlx("embed", undisturbed.data, "--json", cwd=folder).stdout)
    assert (told["embedded"], told["reused"]) == (undisturbed.images - there, there)
    assert told["problems"] == []
    assert stored(folder, undisturbed.spec) == undisturbed.features
    mine, its = (
        Manifest.load(root / ".tlx" / "datasets" / "data.h5")
        for root in (folder, undisturbed.data.parent)
    )
    assert (mine.path, mine.digest_bytes()) == (its.path, its.digest_bytes())
    assert np.array_equal(mine.label, its.label)
    assert "All is well" in run_tlx("cache", "verify", cwd=folder).stdout
    run_tlx("cache", "compact", cwd=folder)
    assert len(list(folder.glob(".tlx/cache/*/*"))) == 1
    assert not list(folder.rglob("*.tmp"))


def kill_often(
    undisturbed: Undisturbed,
    start: Callable,
    run_tlx: Callable,
    base: Path,
    rounds: int,
    growing: bool,
    seal: float,
    seed: int = 0,
) -> int:
    rng = random.Random(seed)
    killed = attempts = 0
    pace = 1.0  # of this machine now, against the undisturbed run
    while killed < rounds and attempts < 4 * rounds:
        attempts += 1
        folder = base / ("growing" if growing else str(attempts))
        folder.mkdir(exist_ok=True)
        low = 0.0 if attempts % 5 == 1 else 0.8 * undisturbed.first
        after = pace * rng.uniform(low, 1.05 * undisturbed.seconds)
        if kill_once(undisturbed, start, folder, after, seal):
            killed += 1
            pace = min(1.0, 1.1 * pace)
        else:  # it was done before
            pace *= 0.8
        done = len(stored(folder, undisturbed.spec)) == undisturbed.images
        if not growing or done or killed == rounds:
            finish(undisturbed, run_tlx, folder)
            shutil.rmtree(folder)
    return killed


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_an_undisturbed_one(
    undisturbed, start, run_tlx, tmp_path
):
    """Each run goes on where the one before was killed, sealing every row."""
    assert kill_often(undisturbed, start, run_tlx, tmp_path, 2, growing=True, seal=0) == 2


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3, 4))])
def test_a_run_killed_once_is_finished_by_the_next(undisturbed, start, run_tlx, tmp_path, seed):
    kill_often(undisturbed, start, run_tlx, tmp_path, 1, growing=False, seal=0.05, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("growing", [True, False])
@pytest.mark.parametrize("seal", [0, 0.05])
def test_kills_at_many_moments_lose_nothing(undisturbed, start, run_tlx, tmp_path, growing, seal):
    """Four times 6 make 24 kills, each at a moment that is drawn; those of `growing` build up."""
    assert kill_often(undisturbed, start, run_tlx, tmp_path, 6, growing, seal) == 6


# Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_commits_what_is_finished_within_two_seconds(
    number, undisturbed, class_folders, start, tmp_path
):
    """No seal is due for an hour, so that nothing but the signal can have written the rows."""
    class_folders(tmp_path / "data", {"amber": 150, "blue": 150})
    terminal = Terminal()
    process = start(
        *("embed", "data", "--checkpoint-seconds", "3600"), cwd=tmp_path, stderr=terminal.writer
    )
    while terminal.shown() < 10 and process.poll() is None:
        time.sleep(0.01)
    assert not list(tmp_path.glob(".tlx/cache/*/*.h5"))
    shown = terminal.shown()
    asked = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=60)
    took = time.monotonic() - asked
    terminal.close()
    assert process.returncode == 130
    assert len(features_of(tmp_path)) >= shown >= 10
    assert took < 2


# Several at once


def crowd(
    undisturbed: Undisturbed, start: Callable, run_tlx: Callable, base: Path, share: int
) -> int:
    """Four embed overlapping folders, one fits heads meanwhile; return how often that one did."""
    images = sorted(undisturbed.data.rglob("*.png"))
    step = (len(images) - share) // 3
    for k in range(4):
        for path in images[k * step : k * step + share]:
            target = base / f"part{k}" / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    few = [*images[:4], *images[-4:]]
    for path in few:
        target = base / "base" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    run_tlx("embed", "base", cwd=base)
    writers = [
        start("embed", f"part{k}", "--checkpoint-seconds", "0.05", "--json", cwd=base)
        for k in range(4)
    ]
    fits = 0
    while True:
        alive = any(writer.poll() is None for writer in writers)
        run_tlx(*("fit-head", "--dataset", "base", "--model", "centroid", "--folds", "2"), cwd=base)
        fits += 1
        if not alive:
            break
    for k, writer in enumerate(writers):
        out, err = writer.communicate(timeout=300)
        assert writer.returncode == 0, err
        told = json.loads(out)
        assert told["images"] == told["embedded"] + told["reused"] == share, k
        assert (told["unreadable"], told["problems"]) == ([], [])
    assert "All is well" in run_tlx("cache", "verify", cwd=base).stdout
    run_tlx("cache", "compact", cwd=base)
    (shard,) = base.glob(".tlx/cache/*/*")
    with h5py.File(shard) as file:
        rows = [row.tobytes() for row in file["digest"][:]]
    covered = {*images[: 3 * step + share], *few}
    assert sorted(rows) == sorted({digest(path.read_bytes()) for path in covered})
    assert features_of(base, "part0").items() <= undisturbed.features.items()
    return fits


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@pytest.mark.slow
def test_four_at_once_on_overlapping_folders(undisturbed, start, run_tlx, tmp_path):
    assert crowd(undisturbed, start, run_tlx, tmp_path, 12) >= 1


@pytest.mark.slow
def test_four_at_once_on_larger_folders_again_and_again(undisturbed, start, run_tlx, tmp_path):
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        assert crowd(undisturbed, start, run_tlx, tmp_path / str(number), 33) >= 2


# Starved


def at_most(size: int) -> Callable[[], None]:
    """What a process calls first so that no file of it grows beyond `size`, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.slow
def test_a_full_disk_keeps_what_is_there_and_the_next_run_goes_on(
    undisturbed, class_folders, run_tlx, tmp_path
):
    class_folders(tmp_path / "data", {"amber": 4, "blue": 4})
    run_tlx("embed", "data", cwd=tmp_path)
    before = features_of(tmp_path)
    class_folders(tmp_path / "data", {"amber": 24, "blue": 24})
    told = run_tlx("embed", "data", cwd=tmp_path, code=1, preexec_fn=at_most(100_000))
    cause, remedy = told.stderr.splitlines()
    needed = re.fullmatch(r"Error: no space left for \S+\.h5: ([\d,]+) bytes are needed\.", cause)
    assert needed
    assert int(needed[1].replace(",", "")) > 40 * 1280 * 4
    assert remedy.startswith("Everything finished so far is kept. Free some space and run the same")
    assert features_of(tmp_path) == before
    assert "All is well" in run_tlx("cache", "verify", cwd=tmp_path).stdout
    again = json.loads(run_tlx("embed", "data", "--json", cwd=tmp_path).stdout)
    assert (again["embedded"], again["reused"]) == (40, 8)
    assert features_of(tmp_path) == undisturbed.features
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_a_workspace_that_becomes_read_only_stays_readable_and_goes_on_later(
    undisturbed, class_folders, run_tlx, tmp_path, bound
):
    class_folders(tmp_path / "data", {"amber": 4, "blue": 4})
    run_tlx("embed", "data", cwd=tmp_path)
    class_folders(tmp_path / "data", {"amber": 6, "blue": 6})
    folders = [tmp_path / ".tlx", *(p for p in (tmp_path / ".tlx").rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        told = run_tlx("embed", "data", cwd=tmp_path, code=1, preexec_fn=bound)
        read = run_tlx("cache", "verify", cwd=tmp_path, preexec_fn=bound)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    cause, remedy = told.stderr.splitlines()
    assert re.fullmatch(r"Error: \S+ cannot be written: Permission denied\.", cause)
    assert remedy == "Choose a folder you may write to with --workspace DIR."
    assert "All is well" in read.stdout
    again = json.loads(run_tlx("embed", "data", "--json", cwd=tmp_path).stdout)
    assert (again["embedded"], again["reused"]) == (4, 8)


def test_a_shard_that_may_not_be_read_says_so(real_project, run_tlx, tmp_path, bound):
    shutil.copytree(real_project.folder / ".tlx", tmp_path / ".tlx")
    (shard,) = tmp_path.glob(".tlx/cache/*/*.h5")
    shard.chmod(0)
    told = run_tlx("fit-head", cwd=tmp_path, code=1, preexec_fn=bound)
    cause, remedy = told.stderr.splitlines()
    assert cause.endswith(f"{shard.name} cannot be read: Permission denied.")
    assert remedy == "Change its permissions, then run the same command again."


# Images that change under it


@pytest.mark.slow
def test_files_that_change_meanwhile_get_features_of_one_of_their_contents(
    undisturbed, class_folders, start, run_tlx, tmp_path
):
    """Some are replaced all the time, some are overwritten in place, some go, while it embeds."""
    class_folders(tmp_path / "data", {"amber": 24, "coral": 24, "zinc": 16})
    files = sorted((tmp_path / "data" / "zinc").iterdir())
    replaced, overwritten, removed = files[:6], files[6:12], files[12:]
    known = sorted((undisturbed.data / "blue").iterdir())
    contents = {
        path: (known[i].read_bytes(), known[i + 12].read_bytes())
        for i, path in enumerate([*replaced, *overwritten])
    }
    for path, (first, _) in contents.items():
        path.write_bytes(first)
    truth = undisturbed.features
    done = threading.Event()

    def disturb() -> None:
        for turn in range(10**9):
            if done.is_set():
                return
            for path in replaced:
                (tmp_path / "new").write_bytes(contents[path][turn % 2])
                os.replace(tmp_path / "new", path)
            for path in overwritten:
                path.write_bytes(contents[path][turn % 2])

    thread = threading.Thread(target=disturb)
    process = start("embed", "data", "--checkpoint-seconds", "0", "--json", cwd=tmp_path)
    thread.start()
    watch(process, tmp_path)
    for path in removed:
        path.unlink()
    out, err = process.communicate(timeout=300)
    done.set()
    thread.join()
    assert process.returncode == 0, err
    reasons = {item["path"]: item["reason"] for item in json.loads(out)["unreadable"]}
    found, manifest = features_of(tmp_path), Manifest.load(tmp_path / ".tlx/datasets/data.h5")
    for path, row in zip(manifest.path, manifest.digest_bytes(), strict=True):
        file = tmp_path / "data" / path
        whole = {digest(data) for data in contents.get(file, ())}
        if file in removed and path in reasons:
            assert reasons[path] == "no such file or directory"
        elif file in overwritten and (path in reasons or row not in whole):
            # Half of one content was read: nothing, or the bytes that were read, under their own
            # digest, which nobody else has.
            assert path in reasons or row in found
        else:
            assert path not in reasons
            assert not whole or row in whole
            assert row in found
    assert all(found[key] == truth[key] for key in found.keys() & truth.keys())
    for path, (first, _) in contents.items():  # and the next run sees what is there now
        path.write_bytes(first)
    again = json.loads(run_tlx("embed", "data", "--json", cwd=tmp_path).stdout)
    assert (again["unreadable"], again["images"]) == ([], 60)
