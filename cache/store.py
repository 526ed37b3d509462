"""All shards of one spec: who is there, give me these, keep those."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from ..errors import DataError, FormatError, StorageError
from .files import make_folder, remove_stale_temporaries, write_atomic
from .hdf5 import NewerFormatError, damaged
from .identity import fingerprint_of
from .index import ShardIndex
from .shard import (
    Rows,
    digest_bytes,
    read_digests,
    read_rows,
    read_shape,
    shard_bytes,
)

_T = TypeVar("_T")

SEAL_ROWS = 512
SEAL_SECONDS = 10.0
SHARD_BYTES = 4 * 2**20  # of features: bounds the memory of a seal and of a merge

_RELISTS = 100  # a reader looks again for shards that came while it read
_STILL_LISTS, _BUSY_LISTS = 2, 12  # listings without a loss that end that
_BUSY_SECONDS = 1.0  # since the folder changed


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
        self._index = ShardIndex()
        self._refused: set[Path] = set()  # damaged, and perhaps in a folder that is read-only

    def shards(self) -> list[Path]:
        """Return the shard files, in the order of their names."""
        return shard_files(self.folder)

    def digests(self) -> set[bytes]:
        """Return the digests of all stored images."""
        return set(self._index_now().digests)

    def has(self, digests: Iterable[bytes]) -> np.ndarray:
        """Return which of N `digests` are stored, shape (N,) bool."""
        stored = self._index_now().digests
        return np.array([digest in stored for digest in digests], bool)

    def feature_shape(self) -> tuple[int, ...] | None:
        """Return the shape of one feature; None if nothing is stored."""
        for _, shape in self.sweep(lambda shard: read_shape(shard, self.spec_json)):
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
        FormatError
            If two shards hold features of different shapes, so that one of them must be wrong.
        """
        wanted = list(digests)
        if not wanted:
            return np.empty((0, *(self.feature_shape() or (0,))), np.float32)
        ids = np.frombuffer(b"".join(wanted), np.uint8).reshape(len(wanted), -1)
        out: np.ndarray | None = None
        for shard, places, rows in self.visit(wanted, lambda s, r: read_rows(s, self.spec_json, r)):
            if out is None:
                out = np.empty((len(wanted), *rows.features.shape[1:]), rows.features.dtype)
            _check_same_shape(shard, rows.features, out)
            if not np.array_equal(rows.digests, ids[places]):
                raise damaged(shard, "it changed while it was read")
            out[places] = rows.features
        assert out is not None  # `visit` raises if any is missing
        return out

    def visit(
        self, digests: Sequence[bytes], read: Callable[[Path, np.ndarray], _T]
    ) -> Iterator[tuple[Path, np.ndarray, _T]]:
        """Read the shards that have `digests`, each once, wherever a merge may move them meanwhile.

        Parameters
        ----------
        digests : sequence of N bytes
            May repeat.
        read : callable
            Given a shard and m rows of it; raises FormatError if it is damaged.

        Yields
        ------
        Path, ndarray of shape (m,), object
            The shard, the places among `digests` that it serves, and what `read` returned.

        Raises
        ------
        DataError
            If any is not stored.
        """
        left = np.arange(len(digests))
        for _ in range(_RELISTS):
            found = self._index_now().locate([digests[place] for place in left.tolist()])
            if sum(len(places) for _, places, _ in found) < len(left):
                raise self._missing(digests)
            failed: list[np.ndarray] = []
            for shard, places, rows in found:
                try:
                    content = read(shard, rows)
                except FileNotFoundError:  # its rows stand in another shard, which is listed next
                    failed.append(left[places])
                except FormatError as error:
                    self._quarantine(shard, error)
                    failed.append(left[places])
                else:
                    yield shard, left[places], content
            if not failed:
                return
            left = np.concatenate(failed)
        raise self._missing(digests)

    def check(self, digests: Sequence[bytes]) -> None:
        """Raise the `DataError` of `gather` if any of `digests` is not stored."""
        if not self.has(digests).all():
            raise self._missing(digests)

    def _missing(self, digests: Sequence[bytes]) -> DataError:
        wanted = set(digests)
        aside = f" ({len(self.problems)} damaged shards were set aside)" if self.problems else ""
        return DataError(
            f"{len(wanted - self._index_now().digests)} of {len(wanted)} images have no features "
            f"of this spec{aside}.",
            "Run tlx embed again: it embeds only what is missing.",
        )

    def _index_now(self) -> ShardIndex:
        """Return the index after a look at which shards came and went.

        A shard that went may have been merged into one that came after the last look, so it looks
        again until none goes.
        """
        for _ in range(_RELISTS):
            for shard, digests in self.sweep(
                lambda shard: read_digests(shard, self.spec_json),
                passed={*self._index.shards, *self._refused},
            ):
                self._index.add(shard, digest_bytes(digests))
            gone = self._index.shards - set(self.shards()) | self._index.shards & self._refused
            if not gone:
                break
            self._index.drop(gone)
        return self._index

    def writer(
        self,
        seal_seconds: float = SEAL_SECONDS,
        on_seal: Callable[[], None] = lambda: None,
    ) -> ShardWriter:
        """Return a writer of new shards; use it in a ``with`` block."""
        make_folder(self.folder)
        remove_stale_temporaries(self.folder)
        return ShardWriter(self, seal_seconds, on_seal)

    def add_shard(self, digests: np.ndarray, features: np.ndarray) -> Path:
        """Write one shard under a new name, durable when this returns.

        The name is random, not a hash of the content: if two processes that merge the same shards
        came to the same name, each could take the result of the other for something to remove.
        """
        path = self.folder / f"{secrets.token_hex(12)}.h5"
        write_atomic(path, shard_bytes(self.spec_json, digests, features))
        return path

    def rewrite(
        self, shards: Iterable[Path], keep: Callable[[bytes], bool] = lambda digest: True
    ) -> int:
        """Replace `shards` by as few as `SHARD_BYTES` allows, each digest once.

        The rule that makes this safe beside any number of readers, writers and other rewrites: a
        shard is removed only after every row of it that is kept stands in a shard that this very
        call has written, flushed and read back. "Another shard has that row too" is no reason,
        because its owner may be saying the same of this one.

        Parameters
        ----------
        shards : iterable of Path
            Those that vanish meanwhile are passed over; damaged ones are set aside.
        keep : callable, optional
            Which digests to keep; the rows of others are dropped.

        Returns
        -------
        int
            How many rows were written.
        """
        seen: set[bytes] = set()
        held: list[Rows] = []  # read, but not written yet
        waiting: deque[tuple[Path, int]] = deque()  # shards, and the row count after each
        read = written = 0

        def flush(final: bool) -> None:
            nonlocal held, written
            rows = Rows(*(np.concatenate(part) for part in zip(*held, strict=True)))
            step = rows_of_a_full_shard(rows.features)
            start = 0
            while len(rows.digests) - start >= (1 if final else step):
                part = Rows(*(column[start : start + step] for column in rows))
                self._write_and_read_back(part)
                start += len(part.digests)
            written += start
            held = [Rows(*(column[start:] for column in rows))] if not final else []
            while waiting and waiting[0][1] <= written:
                _remove(waiting.popleft()[0])

        for shard in shards:
            try:
                rows = read_rows(shard, self.spec_json)
            except FileNotFoundError:  # another process has moved its rows to a shard of its own
                continue
            except FormatError as error:
                self._quarantine(shard, error)
                continue
            new = []
            for row, digest in enumerate(digest_bytes(rows.digests)):
                if digest not in seen and keep(digest):
                    seen.add(digest)
                    new.append(row)
            if new:
                if held:
                    _check_same_shape(shard, rows.features, held[0].features)
                held.append(Rows(rows.digests[new], rows.features[new]))
            read += len(new)
            waiting.append((shard, read))
            if sum(part.features.nbytes for part in held) >= SHARD_BYTES:
                flush(final=False)
        if read > written:
            flush(final=True)
        for shard, _ in waiting:  # nothing of these was kept
            _remove(shard)
        # The folder is not flushed again: a shard that a power cut brings back is only a copy.
        return written

    def sweep(
        self,
        read: Callable[[Path], _T],
        on_damage: Callable[[Path, FormatError], None] | None = None,
        passed: Iterable[Path] = (),
    ) -> Iterator[tuple[Path, _T]]:
        """Yield each shard with what `read` says of it.

        Other processes merge meanwhile. What vanished stands in a shard that was there before it
        went, so it lists again until nothing vanishes twice in a row; once would not do, because a
        merge during the listing itself can hide both. In a folder that changed just now it lists
        more often: where listings are interrupted for long, merges can hide both several times.

        Parameters
        ----------
        read : callable
            Given a shard's path; raises FormatError if it is damaged.
        on_damage : callable, optional
            Given the path and the error; by default the shard is set aside.
        passed : iterable of Path
            Shards not to be read.
        """
        on_damage = on_damage or self._quarantine
        done = set(passed)
        quiet = 0
        for _ in range(_RELISTS):
            quiet += 1
            for shard in self.shards():
                if shard in done:
                    continue
                done.add(shard)
                try:
                    content = read(shard)
                except FileNotFoundError:
                    quiet = 0
                    continue
                except FormatError as error:
                    on_damage(shard, error)
                    continue
                yield shard, content
            if quiet >= (_BUSY_LISTS if self._is_busy() else _STILL_LISTS):
                return

    def _is_busy(self) -> bool:
        """Return whether shards came or went a moment ago."""
        try:
            return abs(time.time() - self.folder.stat().st_mtime) < _BUSY_SECONDS
        except OSError:  # there is no folder
            return False

    def _write_and_read_back(self, rows: Rows) -> None:
        path = self.add_shard(rows.digests, rows.features)
        with contextlib.suppress(FileNotFoundError):  # another process has merged it already
            stored = read_rows(path, self.spec_json)
            if not all(map(np.array_equal, stored, rows)):
                raise FormatError(
                    f"{path} is not what was written to it.",
                    "Nothing was removed. Check the memory and the disk of this machine.",
                )

    def _quarantine(self, shard: Path, error: FormatError) -> None:
        if isinstance(error, NewerFormatError):  # good, but not for this tlx
            raise error
        self.problems.append(error.cause)
        self._refused.add(shard)
        with contextlib.suppress(OSError):  # a read-only folder: it is passed over all the same
            shard.rename(shard.with_suffix(".h5.bad"))


class ShardWriter:
    """Collects rows, seals them into shards, and merges its shards when it is left.

    A seal happens at 512 rows, 4 MiB or `seal_seconds`, whichever comes first. Leaving the
    ``with`` block seals the rest, also when it is left by an exception or Ctrl-C. A row that was
    given but not sealed is lost if the process is killed, and nothing else is.
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
        self._kind: tuple[tuple[int, ...], np.dtype] | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.seal()
        if kind is None and len(self._own) > 1:
            # All rows are safe already. A full disk must not turn a finished pass into a failure.
            with contextlib.suppress(StorageError):
                self._store.rewrite(self._own)

    def add(self, digest: bytes, feature: np.ndarray) -> None:
        """Keep a copy of one row; it is safe from the next seal on.

        Raises
        ------
        ValueError
            If the digest is not 32 bytes, or the feature is not finite or of another shape or type
            than those before it.
        """
        if len(digest) != 32:
            raise ValueError(f"A digest must be 32 bytes. Got {len(digest)}.")
        if not np.isfinite(feature).all():
            raise ValueError("A feature must be finite.")
        kind = (feature.shape, feature.dtype)
        self._kind = self._kind or kind
        if kind != self._kind:
            raise ValueError(f"Features must all be {self._kind}. Got {kind}.")
        self._digests.append(digest)
        self._features.append(feature.copy())  # it may be part of a buffer that is used again
        self._bytes += feature.nbytes
        waited = time.monotonic() - self._sealed_at
        full = len(self._digests) >= SEAL_ROWS or self._bytes >= SHARD_BYTES
        if full or waited >= self._seal_seconds:
            self.seal()

    def seal(self) -> None:
        """Write the collected rows as one shard."""
        if self._digests:
            digests = np.frombuffer(b"".join(self._digests), np.uint8).reshape(-1, 32)
            self._own.append(self._store.add_shard(digests, np.stack(self._features)))
            self._digests, self._features, self._bytes = [], [], 0
        self._sealed_at = time.monotonic()
        self._on_seal()


def shard_files(folder: Path) -> list[Path]:
    """Return the shards in a folder, in the order of their names."""
    return sorted(p for p in folder.glob("*.h5") if not p.name.startswith("."))


def rows_of_a_full_shard(features: np.ndarray) -> int:
    """Return how many rows like these, (n, …), a merged shard holds."""
    return max(1, SHARD_BYTES // max(1, features[:1].nbytes))


def _check_same_shape(shard: Path, features: np.ndarray, others: np.ndarray) -> None:
    if features.shape[1:] != others.shape[1:] or features.dtype != others.dtype:
        raise FormatError(
            f"{shard} holds features of shape {features.shape[1:]}, other shards of the same spec "
            f"of shape {others.shape[1:]}.",
            f"One of them must be wrong: remove the folder {shard.parent} and run tlx embed again.",
        )


def _remove(shard: Path) -> None:
    with contextlib.suppress(OSError):  # gone already, or open in a reader on Windows
        shard.unlink()
