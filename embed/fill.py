"""Compute what a workspace lacks of a data set, and write down what became of each image."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..cache.manifest import Manifest
from ..cache.spec import FeatureSpec
from ..cache.store import SEAL_SECONDS, FeatureStore
from ..workspace import Workspace
from .backbones.family import Backbone
from .dataset import Scan, scan
from .engines.engine import Engine
from .engines.registry import load_engine
from .extract import LISTED, NOT_FINITE, Outcome, Target, extract_all
from .part import Part, known_parts

Progress = Callable[[int, int], None]


@dataclass
class Look:
    """A data set as it is now, and as the workspace knows it.

    Attributes
    ----------
    scan : Scan
        Its manifest has the digests of the files that did not change.
    previous : Manifest or None
        What the last `tlx embed` of it left.
    problem : str
        Why an earlier manifest cannot be read, "" if it can.
    images : int
        How many there are, those of other parts included.
    parts : dict of Path to Manifest
        What was left by a `tlx embed --part` of it.
    """

    scan: Scan
    previous: Manifest | None
    problem: str = ""
    images: int = 0
    parts: dict[Path, Manifest] = field(default_factory=dict)

    @property
    def known(self) -> list[Manifest]:
        """All that is known of its images."""
        return [*([self.previous] if self.previous else []), *self.parts.values()]


def look(
    workspace: Workspace,
    source: str | os.PathLike[str],
    name: str | None = None,
    rehash: bool = False,
    part: Part | None = None,
) -> Look:
    """Look at a folder or CSV file and recall what is known of it, without reading an image.

    Parameters
    ----------
    workspace : Workspace
    source : path
    name : str, optional
        Of the data set; by default that of the folder.
    rehash : bool, default=False
        Take over no digest.
    part : Part, optional
        Look at the images of this part alone.
    """
    found = scan(source, "data")
    known = workspace.find_dataset(found.source, name, found.manifest.root)
    images, previous = len(found.manifest), known.manifest
    if part is not None:
        found.manifest = found.manifest.subset(part.rows(found.manifest))
    manifest = found.manifest
    manifest.name = known.name
    parts = known_parts(workspace, manifest)
    if previous is not None and rehash:
        manifest.sources = list(previous.sources)
    elif previous is not None:
        manifest.adopt(previous)
    for one in parts.values() if not rehash else ():
        manifest.recall(one)
    # The fault of one spec, not of the image: another backbone, or precision, may do.
    for row, error in enumerate(manifest.error):
        if error.startswith(NOT_FINITE):
            manifest.error[row] = ""
    return Look(found, previous, known.problem, images, parts)


class Filled(NamedTuple):
    """What became of the images of a manifest.

    Attributes
    ----------
    faults : dict of int to str
        Images without features by a fault of the machine, and the reason. The manifest keeps it
        only of files that were never read: those are tried again, and no other spec loses them.
    measured : int
        Images whose features were there, and that were decoded only to see what they look like.
    read : int
        Images whose files were read, for whatever reason.
    """

    faults: dict[int, str]
    measured: int
    read: int


class SpecFill:
    """The features of one spec and of its augmented views: what is stored, and what computes more.

    Parameters
    ----------
    workspace : Workspace
    spec : FeatureSpec
    backbone : callable
        Returns the network of `spec`; called when something has to be computed.
    views : int, default=0
        So many augmented views besides the plain image.
    engine : str or Engine, default="auto"

    Attributes
    ----------
    stores : list of FeatureStore
        One a view, the plain image first.
    embedded : list of int
        How many images were computed, by view.
    engine : Engine, EngineName or None
        None while nothing has to be computed.
    wanted_engine : str or Engine
    """

    def __init__(
        self,
        workspace: Workspace,
        spec: FeatureSpec,
        backbone: Callable[[], Backbone],
        views: int = 0,
        engine: str | Engine = "auto",
    ) -> None:
        self.spec = spec
        specs = [dataclasses.replace(spec, view=k) for k in range(views + 1)]
        self.stores = [FeatureStore(workspace.cache, one.json) for one in specs]
        self.embedded = [0] * len(specs)
        self.engine: Engine | EngineName | None = None if isinstance(engine, str) else engine
        self.wanted_engine = engine
        self._backbone, self._opened = backbone, None if isinstance(engine, str) else engine

    @property
    def weights(self) -> str:
        """The weights of the network as they were asked for."""
        return self._backbone().weights

    def targets(self) -> list[Target]:
        """Return what `extract_all` is to compute: one target a view."""
        return [
            Target(dataclasses.replace(self.spec, view=k), self._open, store.digests())
            for k, store in enumerate(self.stores)
        ]

    def _open(self) -> Engine:
        if self._opened is None:
            self._opened = load_engine(self._backbone(), self.spec, str(self.wanted_engine))
        self.engine = self._opened
        return self._opened


class EngineName(NamedTuple):
    """What is told of an engine, wherever it is."""

    name: str
    note: str


# Yields what becomes of files, given them, what is wanted, and the digests of measured pictures.
Producer = Callable[[Sequence[str], Sequence["SpecFill"], "set[bytes] | None"], Iterator[Outcome]]


def embed_here(
    files: Sequence[str], fills: Sequence[SpecFill], measured: set[bytes] | None
) -> Iterator[Outcome]:
    """Yield what becomes of files, computed in this process."""
    return extract_all(files, [target for one in fills for target in one.targets()], measured)


def fill(
    manifest: Manifest,
    fills: Sequence[SpecFill],
    *,
    save_if_due: Callable[[], None] = lambda: None,
    checkpoint_seconds: float = SEAL_SECONDS,
    progress: Progress = lambda done, total: None,
    measure: bool = True,
    previous: Sequence[Manifest] = (),
    producer: Producer = embed_here,
) -> Filled:
    """Compute and store what `fills` lack of the images of a manifest, and measure its pictures.

    Parameters
    ----------
    manifest : Manifest
        What is found out about its images is written into it.
    fills : sequence of SpecFill
    save_if_due : callable, optional
        Called after each seal.
    checkpoint_seconds : float, default=10
        At most this many seconds of work are lost if the process is killed.
    progress : callable, optional
        Called with the number of images done and their total.
    measure : bool, default=True
        See what the pictures look like of which it is not known, even if no feature lacks.
    previous : sequence of Manifest, optional
        What was measured before of the same bytes is taken from these.
    producer : callable, optional
        Who reads and computes; by default this process.

    Returns
    -------
    Filled
    """
    targets = [target for one in fills for target in one.targets()]
    rows = _rows_to_read(manifest, targets, measure)
    faults: dict[int, str] = {}
    measured = 0
    if not len(rows):
        return Filled(faults, measured, 0)
    known = None
    if measure:
        known = set().union(*(one.measured_digests() for one in (*previous, manifest)))
    files = [manifest.file(row) for row in rows]
    places = [(one, k) for one in fills for k in range(len(one.stores))]
    progress(0, len(rows))
    with ExitStack() as stack:
        writers = [
            stack.enter_context(one.stores[k].writer(checkpoint_seconds, save_if_due))
            for one, k in places
        ]
        for done, outcome in enumerate(producer(files, fills, known), 1):
            row = int(rows[outcome.index])
            if outcome.fault:
                faults[row] = outcome.error
            _note(manifest, row, outcome)
            computed = outcome.error or any(f is not None for f in outcome.features)
            if outcome.picture is not None and not computed:
                measured += 1
                save_if_due()  # no writer seals anything that would
            for (one, k), writer, feature in zip(places, writers, outcome.features, strict=True):
                if feature is not None and outcome.digest is not None:
                    if not outcome.stored:
                        writer.add(outcome.digest, feature)
                    one.embedded[k] += 1
            if outcome.stored:
                save_if_due()
            progress(done, len(rows))
    for other in (*previous, manifest):  # copies of a file are decoded once
        manifest.adopt_pictures(other)
    return Filled(faults, measured, len(rows))


def _note(manifest: Manifest, row: int, outcome: Outcome) -> None:
    """Write into the manifest what became of one of its images."""
    if outcome.digest is None:
        if not manifest.hashed[row]:
            manifest.error[row] = outcome.error
        return
    manifest.error[row] = "" if outcome.fault else outcome.error
    manifest.digest[row] = np.frombuffer(outcome.digest, np.uint8)
    if outcome.mtime_ns != LISTED:
        manifest.mtime_ns[row] = outcome.mtime_ns
    elif outcome.size != manifest.size[row]:  # changed since it was listed
        manifest.mtime_ns[row] = -1
    manifest.size[row] = outcome.size
    if outcome.width:
        manifest.width[row], manifest.height[row] = outcome.width, outcome.height
    if outcome.picture is not None:
        manifest.measure(row, outcome.picture)


def _rows_to_read(manifest: Manifest, targets: Sequence[Target], measure: bool) -> np.ndarray:
    """Return the rows of images that are not known to be bad, and lack a feature or a measure."""
    settled = manifest.hashed & (manifest.measured | (not measure))
    digests = manifest.digest_bytes()
    for target in targets:
        settled &= np.fromiter(map(target.known.__contains__, digests), bool, len(digests))
    good = ~np.fromiter(map(bool, manifest.error), bool, len(manifest))
    return np.flatnonzero(good & ~settled)


class ManifestSaver:
    """Saves a manifest now and then while it fills, so that a resumed run need not hash again."""

    def __init__(self, manifest: Manifest, path: Path, seconds: float) -> None:
        self._manifest, self._path, self._seconds = manifest, path, seconds
        self._saved_at = time.monotonic()

    def save(self) -> None:
        """Save it now."""
        self._manifest.save(self._path)
        self._saved_at = time.monotonic()

    def save_if_due(self) -> None:
        """Save it if the last time is `seconds` ago."""
        if time.monotonic() - self._saved_at >= self._seconds:
            self.save()
