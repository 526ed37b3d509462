"""Read, hash and decode image files once, and compute all that is wanted of them in batches."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..cache.files import open_binary
from ..cache.identity import digest_of
from ..cache.spec import FeatureSpec
from ..errors import ImageError, TlxError
from .archive import local_archive
from .engines.engine import Engine
from .fetch import Fetched, fetch_ahead
from .headers import MAX_BYTES
from .images import Framing, decode_images
from .remote import read
from .threads import thread_count
from .views import view_of

BATCH = 8
NOT_FINITE = "its features are not finite"
LISTED = -2  # in the place of a time: what was listed before it was read holds
_LOOKAHEAD = 4 * BATCH  # images decoded ahead of the engine, and
_LOOKAHEAD_BYTES = 256 * 2**20  # bytes of them: both bound the memory


@dataclass
class Outcome:
    """What became of one image file.

    Attributes
    ----------
    index : int
        Its place in the sequence of files.
    digest : bytes or None
        SHA-256 of the bytes that were read; None if they could not be.
    size, mtime_ns : int
        As the file system said when the bytes were read; mtime -1 if they changed meanwhile, and
        `LISTED` of what is no file here.
    width, height : int
        Pixels; 0 if it was not decoded.
    picture : void or None
        What it looks like, one `tlx.cache.pictures.PICTURE`, if that was measured.
    error : str
        Why it lacks a feature, "" if it has them all.
    fault : bool
        Whether the error is one of this machine or of access to the file, not of the image: it
        says nothing of the next attempt.
    features : list of ndarray or None
        One for each target. None on an error, and if the target knew the digest already.
    stored : bool
        Whether the features are in the workspace, as those are that workers of a cluster computed.
    """

    index: int
    digest: bytes | None = None
    size: int = 0
    mtime_ns: int = -1
    width: int = 0
    height: int = 0
    picture: np.void | None = None
    error: str = ""
    fault: bool = False
    features: list[np.ndarray | None] = field(default_factory=list)
    stored: bool = False

    @property
    def feature(self) -> np.ndarray | None:
        """That of the first target, which is the only one of `extract`."""
        return self.features[0]


class Target(NamedTuple):
    """One spec whose features are wanted.

    Attributes
    ----------
    spec : FeatureSpec
    open_engine : callable
        Returns the engine for it. It is called when the first batch is ready, so that nothing is
        loaded if nothing has to be computed.
    known : collection of bytes
        Digests whose features need not be computed.
    """

    spec: FeatureSpec
    open_engine: Callable[[], Engine]
    known: Collection[bytes] = frozenset()


def extract(
    files: Iterable[str | bytes],
    spec: FeatureSpec,
    open_engine: Callable[[], Engine],
    known: Collection[bytes] = frozenset(),
) -> Iterator[Outcome]:
    """Yield what becomes of each file where features of one spec are wanted.

    See `extract_all` and `Target`.
    """
    return extract_all(files, [Target(spec, open_engine, known)])


def extract_all(
    files: Iterable[str | bytes],
    targets: Sequence[Target],
    measured: Collection[bytes] | None = None,
) -> Iterator[Outcome]:
    """Yield what becomes of each file, roughly in their order.

    Each file is read and hashed once, and decoded from memory once for all targets that do not
    know its digest. Of byte-identical files one is decoded; the others get no features, and its
    error if it has one. At most 32 images, or 256 MiB of pixels, are decoded ahead of the engines.

    Parameters
    ----------
    files : iterable of N str or bytes
        Paths, URLs, or what image files hold. It is read as far ahead as images are decoded.
    targets : sequence of Target
        One or more.
    measured : collection of bytes, optional
        Digests of images of which it is known what they look like: all others are measured, and
        decoded for that alone if no target lacks them. By default none is measured.

    Yields
    ------
    Outcome
        N of them.

    Raises
    ------
    TlxError
        If an engine cannot be loaded, or has not enough memory.
    """
    batches = [_Batch(number, target) for number, target in enumerate(targets)]
    copies = _Copies()
    for decoded in _decode_ahead(files, targets, measured):
        for number in decoded.pixels:
            batches[number].waiting.append(decoded)
        if not decoded.pixels:
            yield from copies.settle(decoded.outcome, decoded.is_copy)
        for batch in batches:
            if len(batch.waiting) == BATCH:
                for outcome in batch.compute():
                    yield from copies.settle(outcome)
    for batch in batches:
        if batch.waiting:
            for outcome in batch.compute():
                yield from copies.settle(outcome)


@dataclass
class _Decoded:
    """A file on its way: its outcome so far, and its pixels for each target still to be computed.

    A copy is byte-identical to a file that another thread took before.
    """

    outcome: Outcome
    pixels: dict[int, np.ndarray] = field(default_factory=dict)
    is_copy: bool = False


class _Copies:
    """Holds copies of an image back until its own outcome is known, which is theirs as well."""

    def __init__(self) -> None:
        self._settled: dict[bytes, tuple[str, bool]] = {}
        self._waiting: dict[bytes, list[Outcome]] = {}

    def settle(self, outcome: Outcome, is_copy: bool = False) -> list[Outcome]:
        """Return the outcomes that are now complete."""
        if outcome.digest is None:
            return [outcome]
        if is_copy:
            if outcome.digest not in self._settled:
                self._waiting.setdefault(outcome.digest, []).append(outcome)
                return []
            outcome.error, outcome.fault = self._settled[outcome.digest]
            return [outcome]
        self._settled[outcome.digest] = outcome.error, outcome.fault
        others = self._waiting.pop(outcome.digest, [])
        for other in others:
            other.error, other.fault = outcome.error, outcome.fault
        return [outcome, *others]


class _Claims:
    """Which digests a thread has taken, so that no image is decoded twice."""

    def __init__(self, targets: Sequence[Target], measured: Collection[bytes] | None) -> None:
        self._targets, self._measured = targets, measured
        self._taken: set[bytes] = set()
        self._lock = threading.Lock()

    def take(self, digest: bytes) -> list[int] | None:
        """Return the targets that lack this image; None if another thread was here before."""
        with self._lock:
            if digest in self._taken:
                return None
            self._taken.add(digest)
        return [n for n, target in enumerate(self._targets) if digest not in target.known]

    def measures(self, digest: bytes) -> bool:
        """Tell whether this image is to be measured."""
        return self._measured is not None and digest not in self._measured


def _decode_ahead(
    files: Iterable[str | bytes],
    targets: Sequence[Target],
    measured: Collection[bytes] | None,
) -> Iterator[_Decoded]:
    """Yield the files in order, read and decoded in threads, a bounded number ahead."""
    threads = thread_count()
    bytes_each = sum(3 * target.spec.image_size**2 for target in targets)
    ahead = max(threads, min(_LOOKAHEAD, _LOOKAHEAD_BYTES // bytes_each))
    claims = _Claims(targets, measured)
    pending: deque[Future[_Decoded]] = deque()
    executor = ThreadPoolExecutor(threads, thread_name_prefix="tlx-decode")
    try:
        for index, file in fetch_ahead(files):
            pending.append(executor.submit(_prepare, index, file, targets, claims))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _prepare(
    index: int, file: str | bytes | Fetched, targets: Sequence[Target], claims: _Claims
) -> _Decoded:
    """Read, hash and decode one file."""
    outcome = Outcome(index, features=[None] * len(targets))
    decoded = _Decoded(outcome)
    try:
        data, outcome.size, outcome.mtime_ns = _read(file)
        outcome.digest = digest_of(data)
        wanted = claims.take(outcome.digest)
        if wanted is None:
            decoded.is_copy = True
        elif wanted or claims.measures(outcome.digest):
            specs = [targets[number].spec for number in wanted or [0]]
            framings = [framing_of(spec, outcome.digest) for spec in specs]
            pictures = decode_images(data, framings, claims.measures(outcome.digest))
            outcome.width, outcome.height = pictures[0].width, pictures[0].height
            outcome.picture = pictures[0].picture
            decoded.pixels = {n: p.pixels for n, p in zip(wanted, pictures, strict=False)}
    except ImageError as error:
        outcome.error = error.cause
    except MemoryError:
        outcome.error, outcome.fault = "not enough memory to decode it", True
    except OSError as error:
        outcome.error, outcome.fault = (error.strerror or str(error)).lower(), True
    finally:
        if isinstance(file, Fetched):
            file.release()
    return decoded


def framing_of(spec: FeatureSpec, digest: bytes) -> Framing:
    """Return how the file with this digest becomes the pixels that a spec wants."""
    return Framing(spec.image_size, spec.fit, spec.interpolation, view=view_of(digest, spec.view))


def _read(file: str | bytes | Fetched) -> tuple[bytes, int, int]:
    """Return a file's bytes with its size and mtime; mtime -1 if that may not tell a change."""
    if isinstance(file, bytes):
        return file, len(file), -1
    if isinstance(file, Fetched):
        data = file.data()
        return data, len(data), LISTED
    try:
        opened = open_binary(file)
    except (NotADirectoryError, FileNotFoundError):
        if not local_archive(file):
            raise
        data = read(file)
        return data, len(data), LISTED
    with opened as stream:
        before = os.fstat(stream.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise ImageError("not a regular file")
        if before.st_size > MAX_BYTES:
            raise ImageError(f"file of {before.st_size / 2**20:.0f} MiB, at most {MAX_BYTES >> 20}")
        data = stream.read(MAX_BYTES + 1)
        after = os.fstat(stream.fileno())
    same = (before.st_size, before.st_mtime_ns) == (len(data), after.st_mtime_ns)
    settled = abs(time.time_ns() - after.st_mtime_ns) > _tick(after.st_mtime_ns)
    return data, len(data), before.st_mtime_ns if same and settled else -1


def _tick(mtime_ns: int) -> int:
    """Return how coarse the clock of a file's times may be, in nanoseconds.

    A write within one tick of another does not change the time; so a file that was written just now
    is read again by the next pass. Whole seconds are the mark of a clock like that of FAT.
    """
    return 50_000_000 if mtime_ns % 1_000_000_000 else 2_000_000_000


class _Batch:
    """Collects the images that one target lacks, and computes them."""

    def __init__(self, number: int, target: Target) -> None:
        self._number, self._spec, self._open = number, target.spec, target.open_engine
        self._engine: Engine | None = None
        self.waiting: list[_Decoded] = []

    def compute(self) -> Iterator[Outcome]:
        """Give all that wait their feature; yield the outcomes that lack no other target's."""
        waiting, self.waiting = self.waiting, []
        pixels = np.stack([decoded.pixels.pop(self._number) for decoded in waiting])
        for decoded, feature in zip(waiting, self._features(pixels), strict=True):
            if np.isfinite(feature).all():
                decoded.outcome.features[self._number] = feature
            else:
                kind = f"{self._spec.precision} and {self._spec.dtype}"
                decoded.outcome.error = f"{NOT_FINITE} in {kind}"
            if not decoded.pixels:
                yield decoded.outcome

    def _features(self, pixels: np.ndarray) -> np.ndarray:
        spec = self._spec
        self._engine = self._engine or self._open()
        try:
            features = self._engine(pixels)
        except MemoryError as error:
            raise TlxError(
                f"not enough memory to run {spec.backbone} at {spec.image_size} pixels.",
                "Use a smaller --image-size, or close other programs. What was finished is kept.",
            ) from error
        with np.errstate(over="ignore"):  # float16 may overflow; compute() looks for it
            return features.astype(spec.dtype, copy=False)
