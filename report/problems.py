"""The sections about what is wrong with images: findings, suspect labels, pairs and odd images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..classify.cosine import unit_rows
from ..classify.findings.finding import Finding, Flagged
from ..classify.large import blocks_of
from ..classify.table import Features
from .album import Album

_FEW, _MANY = 8, 24  # photos of a finding that has a section of its own, and of one that has not
_LISTED = 60  # photos of a section
_WITH_NEIGHBOURS = 24  # suspects
_NEIGHBOURS = 3
_SECTIONS = {
    "suspect-label": "suspects",
    "conflict": "duplicates",
    "near-duplicate": "duplicates",
    "leak": "duplicates",
}
_TICKED = "tlx relabel corrections.csv"
_TWO_LABELS = ("near-duplicate", "grave")  # one of them is wrong
_COMMANDS = {
    "suspect-label": _TICKED,
    "conflict": _TICKED,
    "near-duplicate": "tlx fit-head --near-duplicates group",
    "leak": "tlx fit-head --near-duplicates group",
    "stranger": _TICKED,
    "small-class": "tlx learning-curve",
    "imbalance": "tlx runs show best",
    "confused-pair": _TICKED,
}


@dataclass(frozen=True)
class Card:
    """A photo with what is said of it, and what can be ticked.

    Attributes
    ----------
    photo : int
        Its number in the album.
    path, label, suggested, said, score : str
        What is shown; "" where there is nothing.
    other : str
        The label of the photo that it is found together with, if that is another: what can be
        ticked where nothing is suggested.
    can_be_fixed : bool
    """

    photo: int
    path: str
    label: str
    suggested: str = ""
    said: str = ""
    score: str = ""
    other: str = ""
    can_be_fixed: bool = True


@dataclass(frozen=True)
class Neighbours:
    """Photos of one class that are most like another photo."""

    label: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Shown:
    """A photo, beside the one that it is found together with or beside its neighbours."""

    cards: tuple[Card, ...]
    neighbours: tuple[Neighbours, ...] = ()


@dataclass(frozen=True)
class Problem:
    """A finding as it is shown.

    Attributes
    ----------
    finding : Finding
    command : str
        What to type; "" if there is nothing to type.
    shown : tuple of Shown
    left : int
        Images of it that are not among those.
    section : str
        Where all of it is shown; "" if that is here.
    """

    finding: Finding
    command: str
    shown: tuple[Shown, ...]
    left: int
    section: str = ""


def section_of(finding: Finding) -> str:
    """Return the section that shows all of a finding; "" if it has none of its own."""
    if finding.code.startswith("TLX3"):
        return "odd"
    return _SECTIONS.get(finding.name, "")


def preview(finding: Finding, album: Album) -> Problem:
    """Return a finding as the section of all findings shows it."""
    section = section_of(finding)
    most = _FEW if section else _MANY
    return _problem(finding, album, most, section)


def whole(findings: Sequence[Finding], section: str, album: Album) -> list[Problem]:
    """Return the findings that a section is about, with more of their images."""
    own = [finding for finding in findings if section_of(finding) == section and finding.images]
    return [_problem(finding, album, _LISTED) for finding in own]


def with_neighbours(problem: Problem, table: Features, album: Album) -> Problem:
    """Return suspect labels beside the images of each class that are most like them."""
    place = {path: row for row, path in enumerate(table.paths)}
    images = problem.finding.images[:_WITH_NEIGHBOURS]
    wanted = [place.get(flagged.path, -1) for flagged in images]
    rows = np.array([row for row in wanted if row >= 0], np.int64)
    like = iter(nearest_of_each_class(table, rows))
    shown = []
    for one, flagged, row in zip(problem.shown, images, wanted, strict=False):
        found = next(like) if row >= 0 else {}
        names = table.class_names
        if len(names) > 4:
            names = tuple(name for name in names if name in (flagged.label, flagged.suggested))
        beside = tuple(
            Neighbours(name, tuple(_card(album, table.paths[k], fix=False) for k in found[name]))
            for name in names
            if found.get(name)
        )
        shown.append(Shown(one.cards, beside))
    shown += problem.shown[len(shown) :]
    return Problem(problem.finding, problem.command, tuple(shown), problem.left)


def nearest_of_each_class(
    table: Features, rows: np.ndarray, k: int = _NEIGHBOURS
) -> list[dict[str, list[int]]]:
    """Return for each row the k rows of every class that are most like it, by centred cosine.

    Neither itself nor a copy of its file is among them.
    """
    mean = table.X.mean(axis=0, dtype=np.float64).astype(np.float32)
    Z = unit_rows(table.X[rows] - mean)
    copies = [(table.digest == table.digest[row]).all(axis=1) for row in rows]
    found = [{name: _Best.none() for name in table.class_names} for _ in rows]
    for block in blocks_of(*table.X.shape):
        likeness = Z @ unit_rows(table.X[block] - mean).T
        for c, name in enumerate(table.class_names):
            members = np.flatnonzero(table.y[block] == c)
            for own, like, copied in zip(found, likeness, copies, strict=True):
                others = members[~copied[block][members]]
                own[name] = own[name].or_of(like[others], block.start + others, k)
    return [{name: best.rows.tolist() for name, best in own.items()} for own in found]


@dataclass(frozen=True)
class _Best:
    """The rows that are most like another so far, the most alike first; of equals the smaller."""

    likeness: np.ndarray
    rows: np.ndarray

    @classmethod
    def none(cls) -> _Best:
        return cls(np.zeros(0, np.float32), np.zeros(0, np.int64))

    def or_of(self, likeness: np.ndarray, rows: np.ndarray, k: int) -> _Best:
        """Return the best k of these and of rows that come after them."""
        likeness, rows = np.r_[self.likeness, likeness], np.r_[self.rows, rows]
        order = np.argsort(-likeness, kind="stable")[:k]
        return _Best(likeness[order], rows[order])


def _problem(finding: Finding, album: Album, most: int, section: str = "") -> Problem:
    images = finding.images[:most]
    shown = tuple(Shown(_cards(flagged, album)) for flagged in images)
    left = len(finding.images) - len(images)
    return Problem(finding, _command(finding), shown, left, section)


def _command(finding: Finding) -> str:
    """Return what to type: what the kind of finding asks for, or else what the advice says."""
    if finding.code.startswith("TLX3") or (finding.name, finding.severity) == _TWO_LABELS:
        return _TICKED
    if finding.name in _COMMANDS:
        return _COMMANDS[finding.name]
    said = re.search(r"\btlx [a-z][^.,;()]*", finding.advice)
    return said[0].strip() if said else ""


def _cards(flagged: Flagged, album: Album) -> tuple[Card, ...]:
    first = _card(album, flagged.path, flagged.label, flagged.suggested, flagged.score)
    if flagged.other is None:
        return (first,)
    second = _card(album, flagged.other)
    if first.label == second.label or not (first.label and second.label):
        return first, second
    return replace(first, other=second.label), replace(second, other=first.label)


def _card(
    album: Album,
    path: str,
    label: str | None = None,
    suggested: str | None = None,
    score: float | None = None,
    *,
    fix: bool = True,
) -> Card:
    number = album.add(path)
    photo = album.photos[number]
    return Card(
        number,
        photo.path,
        photo.label if label is None else label,
        suggested or "",
        photo.said,
        "" if score is None else f"{score:.2f}" if abs(score) < 10 else f"{score:.0f}",
        can_be_fixed=fix and photo.is_there,
    )
