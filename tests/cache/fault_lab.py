"""Run as a script: does things to processes that write, and prints as JSON what it found wrong.

It forks once for each thing, which is quick only in a process that has imported little and has no
threads; so it is not done within pytest.
"""

from __future__ import annotations

import builtins
import errno
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from cache_helpers import DIM, SPEC, arrays, digest, digests, feature, holds, manifest_of, store_of

from tlx.cache import files
from tlx.cache.files import remove_stale_temporaries
from tlx.cache.manifest import Manifest
from tlx.cache.matrix import read_matrix, write_matrix
from tlx.cache.shard import read_rows, shard_bytes
from tlx.cache.store import FeatureStore
from tlx.errors import FormatError, StorageError
from tlx.upkeep import compact_cache, verify_cache
from tlx.workspace import Workspace

STORAGE_ERROR, OTHER_ERROR = 3, 4


def in_child(work: Callable[[], None]) -> int:
    """Fork, do `work` there, and return the pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        work()
    except StorageError:
        code = STORAGE_ERROR
    except BaseException:
        traceback.print_exc()
        code = OTHER_ERROR
    os._exit(code)


def outcome(pid: int) -> int:
    """Wait for a child; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Faults:
    """Counts every write, flush, rename and removal, and lets chosen ones go wrong."""

    def __init__(self, first: int, deed: str, forever: bool) -> None:
        self.count = 0
        self.first, self.deed, self.forever = first, deed, forever
        for name in ("fsync", "replace", "unlink", "mkdir"):
            setattr(os, name, self._wrap(getattr(os, name)))
        files.open = self._open  # type: ignore[attr-defined]

    def _due(self) -> bool:
        number, self.count = self.count, self.count + 1
        return number == self.first or (self.forever and 0 <= self.first < number)

    def _strike(self) -> None:
        if self.deed == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(getattr(errno, self.deed), os.strerror(getattr(errno, self.deed)))

    def _wrap(self, function):
        def wrapped(*arguments, **options):
            if self._due():
                self._strike()
            return function(*arguments, **options)

        return wrapped

    def _open(self, path, mode="r"):
        if mode.startswith("r"):
            return builtins.open(path, mode)
        file = builtins.open(path, mode, buffering=0)  # noqa: SIM115
        write = file.write
        outer = self

        class Wrapped:
            def __enter__(self):
                return self

            def __exit__(self, *exception):
                file.close()

            def write(self, data):
                if outer._due():  # half of it gets there
                    write(memoryview(data)[: len(data) // 2])
                    outer._strike()
                return write(data)

            def __getattr__(self, name):
                return getattr(file, name)

        return Wrapped()


class Scenario:
    """A workspace with something committed, and work that changes it."""

    committed = range(10)
    all = range(20)

    def __init__(self, folder: Path) -> None:
        self.place = Workspace(folder)
        self.prepare()

    def store(self) -> FeatureStore:
        return FeatureStore(self.place.cache, SPEC)

    def prepare(self) -> None:
        store_of(self.place.cache, self.committed)

    def work(self) -> None:
        raise NotImplementedError

    def wrong(self) -> str:
        """What is wrong after the work was disturbed; nothing committed may be."""
        store = self.store()
        there = store.digests()
        if store.problems:
            return f"damaged: {store.problems}"
        if not there >= set(digests(self.committed)):
            return "committed rows are lost"
        if not there <= set(digests(self.all)):
            return "rows from nowhere"
        numbers = [n for n in self.all if digest(n) in there]
        return "" if holds(store, numbers) else "wrong features"

    def wrong_at_the_end(self) -> str:
        return "" if holds(self.store(), self.all) else "not complete when done again"


class Seal(Scenario):
    """A writer seals once."""

    seal_seconds = 10.0

    def work(self) -> None:
        store = self.store()
        missing = np.flatnonzero(~store.has(digests(self.all)))
        with store.writer(self.seal_seconds) as writer:
            for n in missing:
                writer.add(digest(n), feature(n))


class SealAndMerge(Seal):
    """A writer seals twice and merges its shards."""

    all = range(12)
    seal_seconds = 0.0


class Compact(Scenario):
    """Small and overlapping shards of others are merged."""

    committed = all = range(20)

    def prepare(self) -> None:
        store_of(self.place.cache, range(10), range(5, 15), range(14, 20))

    def work(self) -> None:
        compact_cache(self.place)


class ReplaceManifest(Scenario):
    """A manifest is replaced."""

    def path(self) -> Path:
        return self.place.manifest_path("data")

    def prepare(self) -> None:
        manifest_of(range(5)).save(self.path())

    def work(self) -> None:
        manifest_of(range(9)).save(self.path())

    def wrong(self) -> str:
        n = len(Manifest.load(self.path()))
        return "" if n in (5, 9) else f"{n} images"

    def wrong_at_the_end(self) -> str:
        return "" if len(Manifest.load(self.path())) == 9 else "not replaced when done again"


class GatherMatrix(Scenario):
    """Features of many images are gathered into one file, over one of something else."""

    def path(self) -> Path:
        return self.place.tables / "a.f32"

    def prepare(self) -> None:
        write_matrix(self.path(), "old", [arrays(range(5))[1]])

    def work(self) -> None:
        write_matrix(self.path(), "new", [arrays(range(4))[1], arrays(range(4, 9))[1]])

    def found(self) -> tuple[int, int]:
        both = [read_matrix(self.path(), key) for key in ("old", "new")]
        old, new = (0 if one is None else len(one) for one in both)
        return old, new

    def wrong(self) -> str:
        return "" if self.found() in ((5, 0), (0, 9)) else f"{self.found()} rows"

    def wrong_at_the_end(self) -> str:
        return "" if self.found() == (0, 9) else "not written when done again"


SCENARIOS = {
    cls.__name__: cls for cls in (Seal, SealAndMerge, Compact, ReplaceManifest, GatherMatrix)
}


def every_fault(name: str, base: Path, thorough: bool) -> dict:
    """Let each single step of a scenario go wrong in each way, once and for ever."""
    scenario = SCENARIOS[name]
    steps = count_steps(scenario(base / "count"))
    wrong = []
    deeds = [("kill", False), ("EIO", False), ("ENOSPC", True)]
    if thorough:
        deeds += [("EIO", True), ("ENOSPC", False)]
    for step, (deed, forever) in itertools.product(range(steps), deeds):
        what = f"{deed}{' for ever' if forever else ''} at step {step}"
        folder = base / f"{step}{deed}{forever}"
        here = scenario(folder)
        code = outcome(in_child(lambda: (Faults(step, deed, forever), here.work())))  # noqa: B023
        expected = {-signal.SIGKILL} if deed == "kill" else {0, STORAGE_ERROR}
        if code not in expected:
            wrong.append(f"{what}: exit {code}")
        if found := here.wrong():
            wrong.append(f"{what}: {found}")
        left = list(folder.rglob("*.tmp"))
        if left and deed != "kill" and not forever:
            wrong.append(f"{what}: left {left}")
        for parent in {path.parent for path in left}:
            remove_stale_temporaries(parent)
        if list(folder.rglob("*.tmp")):
            wrong.append(f"{what}: a temporary is there for good")
        here.work()
        if found := here.wrong_at_the_end():
            wrong.append(f"{what}: {found}")
        shutil.rmtree(folder)
    return {"steps": steps, "wrong": wrong}


def count_steps(scenario: Scenario) -> int:
    reader, writer = os.pipe()

    def work() -> None:
        faults = Faults(-1, "kill", False)
        scenario.work()
        os.write(writer, str(faults.count).encode())

    if outcome(in_child(work)):
        raise SystemExit("the undisturbed scenario failed")
    return int(os.read(reader, 100))


def kills(rounds: int, base: Path) -> dict:
    """Kill a writer at random moments, look at what is there, and let another finish."""
    n = 60
    expected = arrays(range(n))[1].tobytes()
    rng = random.Random(0)
    started = time.monotonic()
    write_rows(FeatureStore(base / "undisturbed", SPEC), n, None)
    seconds = time.monotonic() - started
    wrong, killed, lost_most = [], 0, 0
    for number in range(rounds):
        place = Workspace(base / str(number))
        store = FeatureStore(place.cache, SPEC)
        reader, told = os.pipe()
        pid = in_child(lambda: write_rows(store, n, told))  # noqa: B023
        time.sleep(rng.uniform(0, 1.1 * seconds))
        os.kill(pid, signal.SIGKILL)
        killed += outcome(pid) == -signal.SIGKILL
        os.close(told)
        with open(reader, "rb") as pipe:
            events = pipe.read().split()
        sealed = max([int(e[1:]) for e in events if e[:1] == b"s"], default=0)
        given = max([int(e[1:]) for e in events if e[:1] == b"g"], default=0)
        there = store.digests()
        lost_most = max(lost_most, given - len(there))
        if not verify_cache(place).ok or store.problems:
            wrong.append(f"round {number}: verify is not clean")
        if not there >= set(digests(range(sealed))):
            wrong.append(f"round {number}: sealed rows are lost")
        write_rows(FeatureStore(place.cache, SPEC), n, None)
        if FeatureStore(place.cache, SPEC).gather(digests(range(n))).tobytes() != expected:
            wrong.append(f"round {number}: not what an undisturbed run gives")
        if list(store.folder.glob(".*")):
            wrong.append(f"round {number}: a temporary is left")
        shutil.rmtree(place.root)
    return {"killed": killed, "lost_most": lost_most, "wrong": wrong}


def write_rows(store: FeatureStore, n: int, told: int | None) -> None:
    """Write what is missing of `n` rows, 15 a seal, and tell what was given and what is sealed."""
    stored = store.digests()
    given = 0

    def tell(letter: str, number: int) -> None:
        if told is not None:
            os.write(told, f"{letter}{number} ".encode())

    with store.writer(1e9, lambda: tell("s", given)) as writer:
        for number in range(n):
            if digest(number) not in stored:
                writer.add(digest(number), feature(number))
                given = number + 1
                tell("g", given)
                if given % 15 == 0:
                    writer.seal()


def crowd(seconds: float, base: Path) -> dict:
    """Four writers of overlapping rows, two that compact, and a reader that looks at it all."""
    place = Workspace(base)
    store_of(place.cache, range(40))
    end = time.monotonic() + seconds

    def write(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < end:
            store = FeatureStore(place.cache, SPEC)
            start = rng.randrange(0, 300)
            with store.writer(0.1) as writer:
                for number in range(start, start + 60):
                    writer.add(digest(number), feature(number))
                    time.sleep(0.005)  # or the reader gets no processor to read with

    def pack() -> None:
        while time.monotonic() < end:
            compact_cache(place)
            time.sleep(0.05)

    children = [in_child(lambda i=i: write(i)) for i in range(4)] + [in_child(pack), in_child(pack)]
    wrong, reads, seen = [], 0, set(digests(range(40)))
    number_of = {digest(n): n for n in range(360)}
    while time.monotonic() < end:
        store = FeatureStore(place.cache, SPEC)
        there = store.digests()
        if not there >= seen:
            wrong.append(f"read {reads}: {len(seen - there)} rows went away")
        seen |= there
        numbers = sorted(number_of[d] for d in there)
        if not np.array_equal(store.gather(digests(numbers)), arrays(numbers)[1]):
            wrong.append(f"read {reads}: wrong features")
        if store.problems:
            wrong.append(f"read {reads}: {store.problems}")
        reads += 1
    codes = [outcome(pid) for pid in children]
    if any(codes):
        wrong.append(f"exit codes {codes}")
    compact_cache(place)
    store = FeatureStore(place.cache, SPEC)
    if not store.digests() >= seen or not verify_cache(place).ok or len(store.shards()) != 1:
        wrong.append("not clean at the end")
    return {"reads": reads, "rows": len(seen), "wrong": wrong}


def damage(flips: int, base: Path) -> dict:
    """Flip bytes of a shard, cut it off and empty it: harmless or noticed, and nobody dies."""
    ids, features = arrays(range(20), dim=500)
    good = shard_bytes(SPEC, ids, features)
    rng = random.Random(0)
    versions = [b"", *(good[: len(good) * tenth // 10] for tenth in range(1, 10))]
    head = int(good.split(b"head ")[1].split()[0])
    for number in range(flips):  # half of them in the head, which is small
        place = rng.randrange(head) if number % 2 else rng.randrange(head, len(good))
        flipped = bytearray(good)
        flipped[place] ^= 1 << rng.randrange(8)
        versions.append(bytes(flipped))
    path = base / "a.h5"
    reader, told = os.pipe()

    def look() -> None:
        counts = {"noticed": 0, "harmless": 0, "wrong": []}
        for number, data in enumerate(versions):
            path.write_bytes(data)
            try:
                rows = read_rows(path, SPEC)
            except FormatError:
                counts["noticed"] += 1
                continue
            counts["harmless"] += 1
            if not (np.array_equal(rows.digests, ids) and np.array_equal(rows.features, features)):
                counts["wrong"].append(f"version {number}: wrong rows")
        os.write(told, json.dumps(counts).encode())

    code = outcome(in_child(look))
    found = json.loads(os.read(reader, 60_000)) if code == 0 else {"wrong": []}
    if code:
        found["wrong"].append(f"the reader ended with {code}")
    return found


def main(what: str, argument: str) -> None:
    base = Path(tempfile.mkdtemp())
    try:
        if what.startswith("every_fault"):
            result = every_fault(argument, base, what.endswith("thoroughly"))
        else:
            result = {"kills": kills, "crowd": crowd, "damage": damage}[what](int(argument), base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print(json.dumps(result))  # noqa: T201


if __name__ == "__main__":
    assert DIM == 16
    main(*sys.argv[1:])
