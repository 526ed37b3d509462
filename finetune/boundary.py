"""Activations at the cut, computed once by the fast engine and kept like embeddings."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ..cache.manifest import file_of
from ..cache.rows import RowReader
from ..cache.spec import FeatureSpec
from ..cache.store import FeatureStore
from ..classify.table import Features
from ..embed.backbones.family import Backbone
from ..embed.engines.engine import Engine
from ..embed.engines.registry import load_engine
from ..embed.extract import extract
from ..errors import DataError, StorageError
from ..workspace import Workspace
from .cut import INPUT, Cut

DTYPES: Final = ("float16", "float32")

Progress = Callable[[int, int], None]


class Boundary:
    """The activations at one cut, for the images of one table.

    They are never noted as a source of the data set, so that heads do not take them for embeddings.

    Parameters
    ----------
    workspace : Workspace
    table : Features
    backbone : Backbone
    spec : FeatureSpec
        Of the embeddings that the head was trained on.
    cut : Cut
    dtype : {"float16", "float32"}, default="float16"
        How activations are stored.
    engine : str or Engine, default="auto"
        What computes them.

    Attributes
    ----------
    spec : FeatureSpec
        Of the activations.
    row_bytes : int
        Bytes that one image takes.
    computed : int
        Images computed by this object.
    seconds : float
        Time that took, loading of the engine included.
    """

    def __init__(
        self,
        workspace: Workspace,
        table: Features,
        backbone: Backbone,
        spec: FeatureSpec,
        cut: Cut,
        dtype: str = "float16",
        engine: str | Engine = "auto",
    ) -> None:
        self.spec = boundary_spec(spec, cut, dtype)
        self.row_bytes = int(np.prod(cut.shape)) * np.dtype(dtype).itemsize
        self.computed = 0
        self.seconds = 0.0
        self._rate = 0.0
        self._table = table
        self._backbone = backbone
        self._engine = engine
        self._store = FeatureStore(workspace.cache, self.spec.json)
        self._digests = [row.tobytes() for row in table.digest]

    def missing(self, rows: Sequence[int] | np.ndarray) -> list[int]:
        """Return those of `rows` that are not stored, one for each distinct image."""
        stored = self._store.digests()
        first = {self._digests[row]: int(row) for row in reversed(list(rows))}
        return sorted(row for digest, row in first.items() if digest not in stored)

    def stored(self, rows: Sequence[int] | np.ndarray) -> int:
        """Return how many distinct images of `rows` are stored."""
        return len({self._digests[row] for row in rows}) - len(self.missing(rows))

    def check_space(self, rows: Sequence[int], max_bytes: float) -> None:
        """Raise if the activations of `rows` and of what is stored would take too much space.

        Raises
        ------
        DataError
            If they take more than `max_bytes`.
        StorageError
            If the disk has less room than is missing.
        """
        total = len(set(self._digests)) * self.row_bytes
        if total > max_bytes:
            raise DataError(
                f"the activations of {len(self._table)} images at `{self.spec.layer}` take "
                f"{total / 1e9:.3f} GB, more than the {max_bytes / 1e9:g} GB allowed.",
                f"Unfreeze fewer layers, or allow it: --max-cache-gb {-(-total // 10**9)}",
            )
        folder = self._store.folder
        while not folder.exists():
            folder = folder.parent
        needed, free = len(rows) * self.row_bytes, shutil.disk_usage(folder).free
        if needed > 0.95 * free:
            raise StorageError(
                f"the activations need {needed / 1e9:.3f} GB, {folder} has {free / 1e9:.3f} GB.",
                "Free some space, or unfreeze fewer layers.",
            )

    def estimate(self, rows: Sequence[int]) -> float:
        """Return how many seconds `rows` will take, by what has been computed so far; 0 if none."""
        return len(rows) * self._rate

    def compute(self, rows: Sequence[int], progress: Progress = lambda done, total: None) -> None:
        """Compute and store the activations of `rows`.

        Raises
        ------
        DataError
            If an image cannot be read any more, or is not the one that was embedded.
        """
        if not len(rows):
            return
        started = time.perf_counter()
        files = [file_of(self._table.root, self._table.paths[row]) for row in rows]
        first = 0.0
        with self._store.writer() as writer:
            outcomes = extract(files, self.spec, self._open_engine)
            for done, outcome in enumerate(outcomes, 1):
                digest = self._digests[rows[outcome.index]]
                if outcome.feature is None or outcome.digest != digest:
                    raise _changed(files[outcome.index], outcome.error)
                writer.add(digest, outcome.feature)
                first = first or time.perf_counter()
                progress(done, len(rows))
        now = time.perf_counter()
        self.computed += len(rows)
        self.seconds += now - started
        self._rate = (now - first) / max(1, len(rows) - 1)

    def reader(self, rows: Sequence[int] | np.ndarray) -> RowReader:
        """Return random access to the activations of `rows`, which are stored."""
        return RowReader(self._store, [self._digests[row] for row in rows])

    def _open_engine(self) -> Engine:
        if isinstance(self._engine, str):
            if self.spec.layer == INPUT:
                self._engine = _PixelEngine(self.spec)
            else:
                self._engine = load_engine(self._backbone, self.spec, self._engine)
        return self._engine


def boundary_spec(spec: FeatureSpec, cut: Cut, dtype: str = "float16") -> FeatureSpec:
    """Return the spec of the activations at `cut`, below the embeddings of `spec`."""
    return dataclasses.replace(spec, layer=cut.name, pooling="none", dtype=dtype)


class _PixelEngine:
    """The trunk of a network that is trained whole: pixels as they are, exact in float16 too."""

    name, note = "pixels", ""

    def __init__(self, spec: FeatureSpec) -> None:
        self.output_shape = (spec.image_size, spec.image_size, 3)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return pixels (B, S, S, 3) as float32."""
        return batch.astype(np.float32)


def _changed(file: str, error: str) -> DataError:
    why = f"cannot be used any more: {error}" if error else "has changed since it was embedded"
    return DataError(f"{file} {why}.", "Run tlx embed again, then fit the head again.")
