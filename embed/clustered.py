"""Embed on a cluster: parts of the images out, checked features back, into one workspace."""

from __future__ import annotations

import functools
import os
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..cache.files import make_folder, owner, remove_stale_temporaries, storage_error
from ..cache.handed import drop_handed, hand_over, read_handed, take_over
from ..cache.shard import Rows, digest_bytes
from ..cache.store import FeatureStore
from ..errors import DataError, FormatError, TlxError
from ..workspace import Workspace
from .cluster import Cluster, Done, hand_out
from .clusters.pool import Answer, Pool
from .extract import BATCH, Outcome
from .fill import EngineName, Producer, SpecFill, embed_here
from .part import Part
from .remote import given_options
from .urls import signed_urls
from .worker import Job, PartResult, Wanted, embed_part

_PART_IMAGES = 64
_PARTS_A_SLOT = 4  # at least, so that workers are done at about the same time


@contextmanager
def producer_of(
    cluster: str | Cluster | None, part: Part | None, workspace: Workspace
) -> Iterator[Producer]:
    """Give who reads and computes images: the workers of a cluster, or this process.

    Raises
    ------
    DataError
        If a part alone is to be embedded.
    TlxError
        If the cluster is not there; see `tlx.embed.clusters.registry.find_cluster`.
    """
    how = Cluster.of(cluster)
    if how is None:
        yield embed_here
        return
    if part is not None:
        raise DataError(
            f"part {part} is not shared by a cluster, which makes parts of its own.",
            "Leave out --part or --cluster.",
        )
    with how.opened() as pool:
        yield functools.partial(embed_on, pool, how, workspace)


def embed_on(
    pool: Pool,
    how: Cluster,
    workspace: Workspace,
    files: Sequence[Any],
    fills: Sequence[SpecFill],
    measured: set[bytes] | None,
) -> Iterator[Outcome]:
    """Yield what becomes of each file, as `extract_all` does, in whatever order.

    Features are in the workspace when their outcome is yielded. Every shard is read and checked
    before it gets its name, and a row is taken once, whichever workers had the same image.

    Parameters
    ----------
    pool : Pool
    how : Cluster
    workspace : Workspace
    files : sequence of N str
    fills : sequence of SpecFill
    measured : set of bytes, optional
        See `extract_all`.

    Yields
    ------
    Outcome
        N of them.
    """
    size = how.part_images or part_images(len(files), pool.slots)
    parts = [range(start, min(start + size, len(files))) for start in range(0, len(files), size)]
    taking = _Taking(files, parts, fills)
    token = None if how.return_features else _write_token(workspace.root.absolute())
    job = Job(
        tuple(
            _wanted(one, known) for one, known in zip(fills, taking.known_by_fill(), strict=True)
        ),
        None if measured is None else b"".join(measured),
        os.fspath(workspace.cache.absolute()),
        "" if token is None else os.fspath(token),
        owner(),
        options=given_options(),
        signed=signed_urls(),
    )
    rates = Rates(how.rates)
    try:
        pool.begin(embed_part, job)
        items = [[files[row] for row in part] for part in parts]
        for done in hand_out(pool, items, taking.accept, deadline=how.deadline):
            rates.add(done, len(parts[done.index]))
            yield from taking.outcomes(done)
        taking.merge()
    finally:
        if token is not None:
            with suppress(OSError):
                token.unlink()
        for store in taking.stores:
            drop_handed(store, owner())


def _write_token(folder: Path) -> Path:
    """Write the file by which workers know that a folder is the workspace of this process.

    It is a temporary of this process: if that is killed, the next one takes it away.
    """
    token = folder / f".cluster.{owner()}.{secrets.token_hex(4)}.tmp"
    try:
        make_folder(folder)
        remove_stale_temporaries(folder)
        token.write_text(owner())
    except OSError as error:
        raise storage_error(error, token) from error
    return token


def part_images(images: int, slots: int) -> int:
    """Return how many images a part has: whole batches, and some parts for each worker.

    Examples
    --------
    >>> part_images(5000, 2), part_images(100, 4), part_images(3, 2)
    (64, 8, 8)
    """
    share = images // (_PARTS_A_SLOT * max(1, slots))
    return min(_PART_IMAGES, max(1, -(-share // BATCH)) * BATCH)


def _wanted(one: SpecFill, known: Sequence[set[bytes]]) -> Wanted:
    return Wanted(
        one.spec.json, one.weights, one.wanted_engine, tuple(b"".join(some) for some in known)
    )


class Rates:
    """Images a second of each worker, while it is at work."""

    def __init__(self, tell: Callable[[dict[str, float]], None]) -> None:
        self._tell = tell
        self._images: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = defaultdict(float)

    def add(self, done: Done, images: int) -> None:
        """Be told of a part that is done."""
        if done.answer is not None:
            worker = done.answer.worker
            self._images[worker] += images
            self._seconds[worker] += done.answer.seconds
            self._tell({w: n / max(self._seconds[w], 1e-9) for w, n in self._images.items()})


class _Taking:
    """Takes over what workers return."""

    def __init__(
        self, files: Sequence[Any], parts: Sequence[range], fills: Sequence[SpecFill]
    ) -> None:
        self._files, self._parts, self._fills = files, parts, fills
        self.stores: list[FeatureStore] = [store for one in fills for store in one.stores]
        self._known = [store.digests() for store in self.stores]
        self._seen: set[bytes] = set()  # in this pass
        self._own: list[list[Path]] = [[] for _ in self.stores]

    def known_by_fill(self) -> list[list[set[bytes]]]:
        """Return the digests that are stored: one list a fill, one set a view."""
        known = iter(self._known)
        return [[next(known) for _ in one.stores] for one in self._fills]

    def accept(self, index: int, answer: Answer) -> None:
        """Check what a worker returned of a part, and keep its features.

        Raises
        ------
        FormatError
            If anything of it is damaged; nothing is kept then.
        TlxError
            If the worker does not see images that are here.
        """
        result: PartResult = answer.value
        self._check_outcomes(index, answer)
        handed: list[tuple[Path, Rows] | None] = []
        try:
            for store, shard, places in zip(self.stores, result.shards, result.rows, strict=True):
                handed.append(self._read(store, shard, places, result) if shard else None)
        except FileNotFoundError as error:
            raise FormatError(f"{error.filename} is gone.") from error
        copies = self._first_seen(result)
        for k, found in enumerate(handed):
            if found is None:
                continue
            path, rows = found
            digests = digest_bytes(rows.digests)
            new = np.array([digest not in self._known[k] for digest in digests], bool)
            shard = take_over(self.stores[k], path, rows, new)
            self._own[k] += [shard] if shard else []
            self._known[k].update(digests)
            for place, feature, is_new in zip(result.rows[k], rows.features, new, strict=True):
                if is_new:
                    result.outcomes[place].features[k] = feature
        for outcome, is_copy in zip(result.outcomes, copies, strict=True):
            outcome.stored = True
            outcome.picture = None if is_copy else outcome.picture

    def outcomes(self, done: Done) -> Iterator[Outcome]:
        """Yield what became of the images of a part."""
        rows = self._parts[done.index]
        if done.answer is None:
            none: list[np.ndarray | None] = [None] * len(self.stores)
            for row in rows:
                yield Outcome(row, error=done.reason, fault=True, features=none[:])
            return
        result: PartResult = done.answer.value
        for one, told in zip(self._fills, result.engines, strict=True):
            if one.engine is None and told[0]:
                one.engine = EngineName(*told)
        for outcome in result.outcomes:
            outcome.index = rows[outcome.index]
            yield outcome

    def merge(self) -> None:
        """Merge the shards of this pass."""
        for store, own in zip(self.stores, self._own, strict=True):
            if len(own) > 1:
                with suppress(TlxError):  # all rows are safe already
                    store.rewrite(own)

    def _check_outcomes(self, index: int, answer: Answer) -> None:
        rows, result = self._parts[index], answer.value
        if not isinstance(result, PartResult):
            raise FormatError(f"{type(result).__name__} instead of a part.")
        if sorted(outcome.index for outcome in result.outcomes) != list(range(len(rows))):
            raise FormatError(f"not one outcome for each of {len(rows)} images.")
        for outcome in result.outcomes:
            file = self._files[rows[outcome.index]]
            if outcome.error == "no such file or directory" and os.path.exists(file):
                raise DataError(
                    f"worker {answer.worker} does not see {os.fsdecode(file)}, which is here.",
                    "Let images lie where all workers see them under the same path.",
                )

    def _read(
        self, store: FeatureStore, shard: Path | bytes, places: list[int], result: PartResult
    ) -> tuple[Path, Rows]:
        path = hand_over(store.folder, owner(), shard) if isinstance(shard, bytes) else shard
        if path.parent.name != store.fingerprint:
            raise FormatError(f"{path} is in another folder.")
        rows = read_handed(store, path)
        wanted = [result.outcomes[place].digest for place in places]
        if digest_bytes(rows.digests) != wanted:
            raise FormatError(f"{path} has features of other images.")
        return path, rows

    def _first_seen(self, result: PartResult) -> list[bool]:
        """Return which outcomes are of images that came before in this pass."""
        before = [outcome.digest in self._seen for outcome in result.outcomes]
        self._seen.update(outcome.digest for outcome in result.outcomes if outcome.digest)
        return before
