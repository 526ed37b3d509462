"""The same picture in several files: kept once too often, under two labels, or on both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from .evidence import Evidence
from .finding import Finding, Flagged, Kind, images_are

_ORDER = {"": 0, "train": 0, "validation": 1, "test": 2}  # a split is scored by those before it
_CLOSER = " Compared by embeddings alone: tlx embed once more looks closer."


class _Copies:
    """The partners of each image of a table: near-duplicates, and files that are equal."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence, found = evidence, evidence.duplicates
        self.image, pairs = found.image, found.pairs
        self.rows: dict[int, list[int]] = defaultdict(list)
        for row, image in enumerate(self.image.tolist()):
            self.rows[image].append(row)
        self.near: dict[int, dict[int, float]] = defaultdict(dict)
        for a, b, similarity in zip(
            pairs.first.tolist(), pairs.second.tolist(), pairs.similarity.tolist(), strict=True
        ):
            self.near[a][b] = self.near[b][a] = similarity

    def partners(self, row: int) -> dict[int, float]:
        """Return the similarity of each image that is alike, by row; 1 for an equal file."""
        image = int(self.image[row])
        found = {other: 1.0 for other in self.rows[image] if other != row}
        for near, similarity in self.near.get(image, {}).items():
            found |= dict.fromkeys(self.rows[near], min(similarity, 1.0))
        return found

    def groups(self) -> list[np.ndarray]:
        """Return the rows of images that are alike, directly or through others."""
        if len(self.rows) == len(self.image) and not self.near:
            return []
        group = self.evidence.duplicates.join(self.image)
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order])) + 1
        return [rows for rows in np.split(order, starts) if len(rows) > 1]

    def flagged(self, row: int, other: int, similarity: float) -> Flagged:
        table = self.evidence.table
        label = table.class_names[table.y[row]]
        return Flagged(table.paths[row], label, score=similarity, other=table.paths[other])

    @property
    def how(self) -> str:
        return "" if self.evidence.duplicates.pairs.by_picture else _CLOSER


def _duplicates(evidence: Evidence) -> Iterator[Finding]:
    copies, y = _Copies(evidence), evidence.table.y
    groups = copies.groups()
    same, differ = [], []
    for rows in groups:
        kept = _largest(evidence, rows)
        for row in rows.tolist():
            if row == kept or evidence.table.paths[row] in evidence.kept:
                continue
            partners = copies.partners(row)
            other = kept if kept in partners else max(partners, key=lambda r: (partners[r], -r))
            flagged = copies.flagged(row, other, partners[other])
            if y[row] == y[other]:
                same.append(flagged)
            elif copies.image[row] != copies.image[other]:  # else it is a conflict: TLX102
                differ.append(flagged)
    if differ:
        yield DUPLICATE.finding(
            "grave",
            f"{images_are(len(differ))} nearly the same as one of another class.",
            "Give both one label, or leave them out." + copies.how,
            value=float(len(differ)),
            images=_surest(differ),
        )
    if same:
        yield DUPLICATE.finding(
            "warning",
            f"{images_are(len(same))} nearly the same as another one of the class.",
            "Leave them out, the largest of each is not listed; or keep them on one side: tlx "
            "fit-head --near-duplicates group." + copies.how,
            value=float(len(same)),
            images=_surest(same),
        )


def _leaks(evidence: Evidence) -> Iterator[Finding]:
    split = evidence.table.split.tolist()
    order = np.array([_ORDER.get(name, 0) for name in split])
    if len(np.unique(order)) < 2:
        return
    copies, images, counts = _Copies(evidence), [], dict.fromkeys(("validation", "test"), 0)
    several = np.unique(copies.image, return_counts=True)[1] > 1
    several[list(copies.near)] = True
    for row in np.flatnonzero((order > 0) & several[copies.image]).tolist():
        partners = {r: s for r, s in copies.partners(row).items() if order[r] < order[row]}
        if partners:
            other = max(partners, key=lambda r: (partners[r], -r))
            images.append(copies.flagged(row, other, partners[other]))
            counts[split[row]] += 1
    if images:
        told = " and ".join(f"{n} of {name}" for name, n in counts.items() if n)
        yield LEAK.finding(
            "grave",
            f"{images_are(len(images))} nearly the same as one of an earlier split: {told}.",
            "The score flatters. Leave them out, or learn without their like: tlx fit-head "
            "--near-duplicates group." + copies.how,
            value=float(len(images)),
            images=_surest(images),
        )


def _largest(evidence: Evidence, rows: np.ndarray) -> int:
    """Return the row of the picture with the most pixels, of the largest file, or the first."""
    manifest, own = evidence.manifest, evidence.rows[rows]
    pixels = manifest.width[own].astype(np.int64) * manifest.height[own]
    return int(rows[np.lexsort((rows, -manifest.size[own], -pixels))[0]])


def _surest(images: Iterable[Flagged]) -> tuple[Flagged, ...]:
    return tuple(sorted(images, key=lambda image: -(image.score or 0)))


DUPLICATE = Kind(
    "TLX201", "near-duplicate", "nearly the same picture in several files", _duplicates
)
LEAK = Kind("TLX202", "leak", "nearly the same picture on both sides of a split", _leaks)
KINDS = (DUPLICATE, LEAK)
