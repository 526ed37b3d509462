"""What findings are made from: all that a workspace has of a data set, without an image opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ...cache.manifest import Manifest
from ...workspace import Workspace
from ..duplicates import Duplicates, find_duplicates
from ..runs.run import Run
from ..table import Features, load_table

ALL_SPLITS = ("train", "validation", "test", "")


@dataclass(frozen=True, eq=False)
class Scored:
    """What one run says of the images of a table that it has not seen while it learned. C classes.

    Attributes
    ----------
    run : Run
    rows : ndarray of shape (M,), int64
        Of the table.
    probabilities : ndarray of shape (M, C), float64
        Calibrated, in the order of the table's classes.
    """

    run: Run
    rows: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True, eq=False)
class Evidence:
    """A data set as it is cached: N labelled images that can be read.

    Attributes
    ----------
    workspace : Workspace
    manifest : Manifest
        All its images, those without label or feature included.
    features : str or None
        Which embeddings are looked at: see `tlx.load_features`.
    runs : tuple of Run
        Runs of this data set, the first is the one that is judged; may be empty.
    """

    workspace: Workspace
    manifest: Manifest
    features: str | None = None
    runs: tuple[Run, ...] = ()

    @property
    def unlabelled(self) -> bool:
        """Whether no image has a label; see `of_one_class`."""
        return self.manifest.class_names in ((), ("",))

    def of_one_class(self) -> Evidence:
        """Return the same, images without any label being of one class without a name."""
        if self.manifest.class_names:
            return self
        label = np.zeros_like(self.manifest.label)
        return replace(self, manifest=replace(self.manifest, class_names=("",), label=label))

    @cached_property
    def table(self) -> Features:
        """Embeddings, labels, groups and splits of the N images; those of test as well."""
        return load_table(
            self.workspace, self.manifest, self.features, ALL_SPLITS, allow_missing=True
        )

    @cached_property
    def rows(self) -> np.ndarray:
        """Where in the manifest each image of the table is, shape (N,) int64."""
        place = {path: row for row, path in enumerate(self.manifest.path)}
        return np.array([place[path] for path in self.table.paths], np.int64)

    @cached_property
    def pictures(self) -> np.ndarray:
        """How the N images look, shape (N,) `tlx.cache.pictures.PICTURE`."""
        return self.manifest.pictures[self.rows]

    @cached_property
    def measured(self) -> np.ndarray:
        """Of which of the N images it is known how they look, shape (N,) bool.

        Those that were embedded before tlx measured pictures are, after the next `tlx embed`.
        """
        return self.manifest.measured[self.rows]

    @cached_property
    def duplicates(self) -> Duplicates:
        """The near-duplicates among the N images."""
        return find_duplicates(self.workspace, (self.manifest, self.table))

    @cached_property
    def groups(self) -> np.ndarray:
        """Which of the N images are not independent: those of one group, and near-duplicates."""
        return self.duplicates.join(self.table.groups)

    @cached_property
    def silent(self) -> tuple[Run, ...]:
        """Runs that say nothing of the images: their classes are others than there are now."""
        manifest = self.manifest
        there = np.unique(manifest.label[manifest.usable & (manifest.label >= 0)])
        names = {manifest.class_names[label] for label in there}
        return tuple(run for run in self.runs if {*run.class_names} != names)

    @cached_property
    def scored(self) -> tuple[Scored, ...]:
        """What the runs say of the images; only of those that are still in the data set."""
        place = {
            (path, bytes(digest)): row
            for row, (path, digest) in enumerate(
                zip(self.table.paths, self.table.digest, strict=True)
            )
        }
        found = []
        for run in self.runs:
            if run.class_names != self.table.class_names:
                continue  # it judged other classes
            said = run.predictions()
            keys = zip(said.path, map(bytes, said.digest), strict=True)
            rows = np.array([place.get(key, -1) for key in keys], np.int64)
            probabilities = said.all_draws.mean(axis=0, dtype=float)
            found.append(Scored(run, rows[rows >= 0], probabilities[rows >= 0]))
        return tuple(found)

    @cached_property
    def decided(self) -> dict[str, str]:
        """What a person decided with ``tlx relabel``, by path: see `tlx.cache.corrections`."""
        corrections = self.workspace.corrections(self.manifest.name)
        stale = corrections.correct(self.manifest).stale
        found = corrections.by_path
        return {path: one.action for path, one in found.items() if path not in stale}

    @cached_property
    def kept(self) -> frozenset[str]:
        """Paths of the images that a person looked at and left as they are: not asked again."""
        return frozenset(path for path, action in self.decided.items() if action == "keep")
