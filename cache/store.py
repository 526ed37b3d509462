"""All shards of one spec: who is there, give me these, keep those."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from ..errors import DataError, FormatError
from .files import fsync_folder, remove_stale_temporaries, write_atomic
from .identity import fingerprint_of
from .shard import Rows, read_digests, read_rows, read_shape, read_spec, shard_bytes

_T = TypeVar("_T")

SEAL_ROWS = 512
SEAL_SECONDS = 10.0
SHARD_BYTES = 32 * 2**20  # of features: bounds the memory of a seal and of a merge

_RELISTS = 20  # a reader starts again when a merge removed a shard under it


class FeatureStore:
    """The features of one spec, in a folder of immutable shards.

    Any number of processes may read and write at once: a writer only ever adds whole shards of its
    own, and removes its own after their rows stand in a larger one.

    Parameters
    ----------
    cache : Path
        The folder that holds one folder a fingerprint.
    spec_json : str
        Canonical JSON of the spec.

    Attributes
    ----------
    problems : list of str
        What was found damaged and set aside since this store was opened.
    """

    def __init__(self, cache: Path, spec_json: str) -> None:
        self.spec_json = spec_json
        self.fingerprint = fingerprint_of(spec_json)
        self.folder = cache / self.fingerprint
        self.problems: list[str] = []

    def shards(self) -> list[Path]:
        """Return the shard files, in the order of their names."""
        return sorted(p for p in self.folder.glob("*.h5") if not p.name.startswith("."))

    def digests(self) -> set[bytes]:
        """Return the digests of all stored images."""
        found: set[bytes] = set()
        for _, digests in self._sweep(lambda shard: read_digests(shard, self.spec_json)):
            found.update(map(bytes, digests))
        return found

    def feature_shape(self) -> tuple[int, ...] | None:
        """Return the shape of one feature; None if nothing is stored."""
        for _, shape in self._sweep(lambda shard: read_shape(shard, self.spec_json)):
            return shape[1:]
        return None

    def gather(self, digests: Iterable[bytes]) -> np.ndarray:
        """Return the features of `digests`, in that order.

        Parameters
        ----------
        digests : iterable of N bytes
            May repeat.

        Returns
        -------
        ndarray of shape (N, …), float32 or float16

        Raises
        ------
        DataError
            If any is not stored.
        """
        wanted = list(digests)
        places: dict[bytes, list[int]] = {}
        for place, digest in enumerate(wanted):
            places.setdefault(digest, []).append(place)
        out: np.ndarray | None = None
        missing = set(places)

        def read(shard: Path) -> Rows | None:
            stored = read_digests(shard, self.spec_json)
            rows = np.array([i for i, d in enumerate(map(bytes, stored)) if d in missing], np.intp)
            return read_rows(shard, self.spec_json, rows) if len(rows) else None

        for _, found in self._sweep(read):
            if found is None:
                continue
            if out is None:
                out = np.empty((len(wanted), *found.features.shape[1:]), found.features.dtype)
            for digest, feature in zip(map(bytes, found.digests), found.features, strict=True):
                out[places[digest]] = feature
                missing.discard(digest)
            if not missing:
                break
        if missing or out is None:
            raise DataError(
                f"{len(missing)} of {len(places)} images have no features of this spec.",
                "Run tlx embed again: it embeds only what is missing.",
            )
        return out

    def writer(
        self,
        seal_seconds: float = SEAL_SECONDS,
        on_seal: Callable[[], None] = lambda: None,
    ) -> ShardWriter:
        """Return a writer of new shards; use it in a ``with`` block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale_temporaries(self.folder)
        return ShardWriter(self, seal_seconds, on_seal)

    def _sweep(self, read: Callable[[Path], _T]) -> Iterator[tuple[Path, _T]]:
        """Yield each shard with what `read` says; set aside the bad, re-list after a merge."""
        done: set[Path] = set()
        for _ in range(_RELISTS):
            vanished = False
            for shard in self.shards():
                if shard in done:
                    continue
                done.add(shard)
                try:
                    content = read(shard)
                except FileNotFoundError:
                    vanished = True
                except FormatError as error:
                    self._quarantine(shard, error)
                else:
                    yield shard, content
            if not vanished:
                return

    def _quarantine(self, shard: Path, error: FormatError) -> None:
        self.problems.append(error.cause)
        with contextlib.suppress(OSError):  # a read-only folder: it is passed over all the same
            shard.rename(shard.with_suffix(".h5.bad"))


class ShardWriter:
    """Collects rows, seals them into shards, and merges its shards when it is left.

    A seal happens at 512 rows, 32 MiB or `seal_seconds`, whichever comes first. Leaving the
    ``with`` block seals the rest, also when it is left by an exception or Ctrl-C.
    """

    def __init__(
        self, store: FeatureStore, seal_seconds: float, on_seal: Callable[[], None]
    ) -> None:
        self._store = store
        self._seal_seconds = seal_seconds
        self._on_seal = on_seal
        self._digests: list[bytes] = []
        self._features: list[np.ndarray] = []
        self._bytes = 0
        self._sealed_at = time.monotonic()
        self._own: list[Path] = []

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seal()
        if kind is None:
            self._merge()

    def add(self, digest: bytes, feature: np.ndarray) -> None:
        """Keep one row; it is safe from the next seal on."""
        self._digests.append(digest)
        self._features.append(feature)
        self._bytes += feature.nbytes
        waited = time.monotonic() - self._sealed_at
        full = len(self._digests) >= SEAL_ROWS or self._bytes >= SHARD_BYTES
        if full or waited >= self._seal_seconds:
            self.seal()

    def seal(self) -> None:
        """Write the collected rows as one shard."""
        if self._digests:
            digests = np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, 32)
            self._own.append(self._write(digests, np.stack(self._features)))
            self._digests, self._features, self._bytes = [], [], 0
        self._sealed_at = time.monotonic()
        self._on_seal()

    def _write(self, digests: np.ndarray, features: np.ndarray) -> Path:
        path = self._store.folder / f"{secrets.token_hex(12)}.h5"
        write_atomic(path, shard_bytes(self._store.spec_json, digests, features))
        return path

    def _merge(self) -> None:
        """Replace this writer's shards by as few as `SHARD_BYTES` allows.

        The larger shard is durable before the small ones go, so a reader or a crash between the two
        sees rows twice, never not at all.
        """
        for group in _groups(self._own, SHARD_BYTES):
            parts = [read_rows(path, self._store.spec_json) for path in group]
            digests = np.concatenate([part.digests for part in parts])
            self._write(digests, np.concatenate([part.features for part in parts]))
            for path in group:
                path.unlink(missing_ok=True)
        if self._own:
            fsync_folder(self._store.folder)
        self._own = []


def _groups(paths: list[Path], limit: int) -> Iterator[list[Path]]:
    """Yield runs of two or more files whose sizes add up to at most `limit`."""
    group: list[Path] = []
    total = 0
    for path in paths:
        size = path.stat().st_size
        if group and total + size > limit:
            if len(group) > 1:
                yield group
            group, total = [], 0
        group.append(path)
        total += size
    if len(group) > 1:
        yield group


def stored_specs(cache: Path) -> dict[str, str]:
    """Return the canonical spec JSON of every fingerprint that has a readable shard."""
    specs = {}
    for folder in sorted(p for p in cache.glob("*") if p.is_dir()):
        for shard in sorted(folder.glob("*.h5")):
            try:
                specs[folder.name] = read_spec(shard)
                break
            except (FormatError, FileNotFoundError):
                continue
    return specs
