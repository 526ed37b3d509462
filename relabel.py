"""Correct labels without touching an image: decisions of a person, kept beside a data set.

They come as a CSV file, such as the page of `tlx report` saves, or as a mapping. All of them are
checked against the data set as it is; if one does not fit, none is applied. See
`tlx.cache.corrections` for what is kept, and `tlx.workspace.Workspace.load_manifest` for where it
takes effect.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from .arguments import says_nearest_argument
from .cache.corrections import ACTIONS, Correction, Corrections, label_names
from .cache.files import open_binary, write_atomic
from .cache.manifest import Manifest
from .errors import DataError, FormatError
from .reprs import readable
from .workspace import Workspace, several

COLUMNS = ("path", "action", "label", "from", "digest")
MAX_BYTES = 2**26

_HEADER = "Its first line must be path,label or path,action,label and optionally from,digest."


class Decision(NamedTuple):
    """One line of a file of corrections.

    Attributes
    ----------
    line : int
        Where it ends in the file; 0 if it comes from none.
    path, action : str
    label : str
        The class that the image is to have; "" where `action` needs none.
    before, digest : str
        What the image had when this was decided, as far as it is told.
    """

    line: int
    path: str
    action: str
    label: str = ""
    before: str = ""
    digest: str = ""


class Change(NamedTuple):
    """An image whose label changes, from one name to another; None for no label."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Relabelling:
    """What corrections change, or would.

    Attributes
    ----------
    dataset : str
    changed : list of Change
        `after` is None of an image that is left out.
    kept : list of str
        Images whose labels were looked at and are right.
    same : int
        Decisions that say what is already so.
    applied : bool
        Whether it was done, or only told.
    stale : dict of str to str
        Of corrections that were there: why one is not in effect, by path.
    backup : Path or None
        Where corrections that were taken away are kept.
    new_classes : tuple of str
        Of those: the labels that no folder has, which must be named to have them back.
    """

    dataset: str
    changed: list[Change]
    kept: list[str] = field(default_factory=list)
    same: int = 0
    applied: bool = False
    stale: dict[str, str] = field(default_factory=dict)
    backup: Path | None = None
    new_classes: tuple[str, ...] = ()


@says_nearest_argument
def relabel_images(
    corrections: str | os.PathLike[str] | Mapping[str, str | None],
    dataset: str | None = None,
    *,
    apply: bool = False,
    new_classes: str | Iterable[str] = (),
    workspace: str | os.PathLike[str] = ".tlx",
) -> Relabelling:
    """Correct labels of a data set; no image file is touched, and nothing is embedded again.

    Later runs of `tlx.embed_images` find the corrections again, by path and content of an image.

    Parameters
    ----------
    corrections : path or mapping of str to str or None
        A CSV file with the columns ``path,label``, or ``path,action,label`` with the actions
        ``relabel``, ``drop`` (leave it out) and ``keep`` (its label is right), and optionally
        ``from,digest``, which must then be what the image has. Or labels by path, None for an
        image that is to be left out.
    dataset : str, optional
        Its name; by default the one embedded last.
    apply : bool, default=False
        Do it. By default it is only told what would change.
    new_classes : str or iterable of str, optional
        Labels that no image has yet, so that a slip of the pen makes no class.
    workspace : path, default=".tlx"

    Returns
    -------
    Relabelling

    Raises
    ------
    DataError
        If a line does not fit to the data set, naming line and value. Nothing is applied then.
    FormatError
        If the corrections that are there already cannot be read.

    Examples
    --------
    >>> import tlx
    >>> told = tlx.relabel_images({"red/0.png": "blue", "red/1.png": None})
    >>> told.changed[0]
    Change(path='red/0.png', before='red', after='blue')
    >>> told.applied
    False
    """
    place = Workspace(workspace)
    if isinstance(corrections, Mapping):
        decisions = [
            Decision(0, os.fspath(path), "drop" if label is None else "relabel", label or "")
            for path, label in corrections.items()
        ]
    else:
        decisions = read_decisions(Path(corrections))
    snapshot = place.load_snapshot(dataset)
    old = place.corrections(snapshot.name)
    corrected = old.correct(snapshot)
    check = _Check(snapshot, corrected.manifest, several(new_classes))
    rows = check.rows_of(decisions)
    by_path = dict(old.by_path)
    changed, kept, same = [], [], 0
    for row, one in rows.items():
        path, now, source = snapshot.path[row], check.now[row], check.source[row]
        target = {"relabel": one.label, "drop": None, "keep": now}[one.action]
        decided = path in by_path and path not in corrected.stale
        if target == now and (decided or one.action != "keep"):
            same += 1
            continue
        if one.action == "keep":
            kept.append(path)
        else:
            changed.append(Change(path, now, target))
        if one.action != "keep" and target == source:
            by_path.pop(path, None)  # as the folders say: nothing is left to correct
        else:
            digest = snapshot.digest[row].tobytes().hex()
            by_path[path] = Correction(path, one.action, target, source, digest, time.time())
    if apply and (changed or kept):
        Corrections(snapshot.name, by_path).save(place.corrections_path(snapshot.name))
    return Relabelling(snapshot.name, changed, kept, same, apply, corrected.stale)


def list_corrections(workspace: Workspace, dataset: str | None = None) -> Relabelling:
    """Return the corrections of a data set, by default of the one embedded last, as applied."""
    snapshot = workspace.load_snapshot(dataset)
    found = workspace.corrections(snapshot.name)
    stale = found.correct(snapshot).stale
    valid = [one for path, one in sorted(found.by_path.items()) if path not in stale]
    changed = [Change(c.path, c.source, c.label) for c in valid if c.action != "keep"]
    kept = [c.path for c in valid if c.action == "keep"]
    return Relabelling(snapshot.name, changed, kept, applied=True, stale=stale)


def undo_corrections(workspace: Workspace, dataset: str | None = None) -> Relabelling:
    """Take away all corrections of a data set: labels are those of the folders again.

    They are kept in a CSV file that `relabel_images` takes; a damaged file is kept as it is.

    Raises
    ------
    DataError
        If there are none.
    """
    snapshot = workspace.load_snapshot(dataset)
    name = snapshot.name
    path = workspace.corrections_path(name)
    if not os.path.lexists(path):
        raise DataError(
            f"data set {name!r} has no corrections of labels.",
            "tlx relabel corrections.csv --apply makes some.",
        )
    try:
        gone = list_corrections(workspace, name)
        backup = _unused(path.with_name(f"{name}-undone.csv"))
        write_atomic(backup, _as_csv(workspace.corrections(name)))
        path.unlink()
    except FormatError:
        backup = _unused(path.with_name(f"{path.name}.bad"))
        path.rename(backup)
        return Relabelling(name, [], applied=True, backup=backup)
    back = [Change(path, after, before) for path, before, after in gone.changed]
    new = {label for _, label, _ in back if label is not None} - {*snapshot.class_names}
    return Relabelling(
        name,
        back,
        gone.kept,
        applied=True,
        stale=gone.stale,
        backup=backup,
        new_classes=tuple(sorted(new)),
    )


def _unused(path: Path) -> Path:
    """Return `path`, with a number behind its stem if there is such a file."""
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def _as_csv(corrections: Corrections) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for path, one in sorted(corrections.by_path.items()):
        label = one.label if one.action == "relabel" else ""
        writer.writerow([path, one.action, label, one.source or "", one.digest])
    return text.getvalue().encode("utf-8", "surrogateescape")


def read_decisions(path: Path) -> list[Decision]:
    """Read a CSV file of corrections, in UTF-8 with or without a mark of that at its start.

    Raises
    ------
    DataError
        If it cannot be read, is too large, or a line cannot be understood.
    """
    try:
        with open_binary(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}.",
            "Name the file that the page of tlx report saved, such as Downloads/corrections.csv",
        ) from error
    if len(data) > MAX_BYTES:
        raise DataError(f"{path} is larger than {MAX_BYTES:,} bytes.", "Is it the right file?")
    # File names need not be UTF-8: such bytes are taken as Python takes them from the system.
    text = data.decode("utf-8-sig", "surrogateescape")
    try:
        lines = csv.reader(io.StringIO(text, newline=""))
        header = [name.strip().lower() for name in next(lines, [])]
        _check_header(path, header)
        found = [
            _decision(path, lines.line_num, dict(zip(header, cells, strict=True)))
            for cells in _of_length(path, lines, len(header))
        ]
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: {error}.", _HEADER) from error
    if not found:
        raise DataError(f"{path} has no corrections: only its first line.", "Nothing is to do.")
    return found


def _check_header(path: Path, header: list[str]) -> None:
    if {"code", "severity", "suggested"} <= set(header):
        raise DataError(
            f"{path} lists what tlx audit found, and nobody decided on it yet.",
            "Run tlx report, tick what is right in its page, and name the corrections.csv that it "
            "saves. Or write a file with the columns path,label.",
        )
    if "path" in header and {"label", "action"} & set(header):
        if len(set(header)) < len(header):
            raise DataError(f"{path} has two columns of one name: {', '.join(header)}.", _HEADER)
        return
    first = ",".join(header)
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if mark in first and "path" in first:
            raise DataError(
                f"{path} has {name} between its columns, as some spreadsheets write them.",
                "Save it with commas: 'CSV UTF-8 (comma delimited)'.",
            )
    raise DataError(f"the first line of {path} is {first[:80]!r}.", _HEADER)


def _of_length(path: Path, lines: Iterator[list[str]], n: int) -> Iterator[list[str]]:
    """Yield the lines that are not empty, all with n cells; cells left away at an end are empty."""
    for cells in lines:
        if len(cells) > n:
            number = getattr(lines, "line_num", 0)
            raise DataError(
                f"{path}, line {number}: {len(cells)} columns, the first line has {n}.",
                'Put double quotes round what holds a comma: "a,b.jpg".',
            )
        if any(cells):
            yield cells + [""] * (n - len(cells))


def _decision(path: Path, line: int, cells: dict[str, str]) -> Decision:
    label, where = cells.get("label", ""), f"{path}, line {line}"
    label = label if label.strip() else ""
    if not cells["path"].strip():
        raise DataError(f"{where}: the path is empty.", "Fill it in, or remove the line.")
    if "action" in cells:
        action = cells["action"].strip().lower()
    else:
        action = "relabel" if label else "drop"
    if action not in ACTIONS:
        raise DataError(
            f"{where}: unknown action {cells['action']!r}.",
            "Use relabel, drop (leave the image out) or keep (its label is right).",
        )
    if action == "relabel" and not label:
        raise DataError(
            f"{where}: no label is given to {cells['path']!r}.",
            "Fill it in, or use the action drop to leave the image out.",
        )
    given = label if action == "relabel" else ""
    digest = cells.get("digest", "").strip().lower()
    return Decision(line, cells["path"], action, given, cells.get("from", ""), digest)


class _Check:
    """Holds decisions against a data set as it is."""

    def __init__(self, snapshot: Manifest, corrected: Manifest, new_classes: list[str]) -> None:
        self.snapshot = snapshot
        self.now, self.source = label_names(corrected), label_names(snapshot)
        self.hashed = snapshot.hashed
        self.classes = {*corrected.class_names, *snapshot.class_names, *new_classes}
        self._place = {path: row for row, path in enumerate(snapshot.path)}
        # As exports, and pages that cannot hold other bytes, write a name that is no UTF-8.
        self._written = {
            readable(path): row for path, row in self._place.items() if not path.isascii()
        }

    def rows_of(self, decisions: Iterable[Decision]) -> dict[int, Decision]:
        """Return the decision of each image, by its row; raise if any does not fit."""
        rows: dict[int, Decision] = {}
        problems = []
        for one in decisions:
            one = one._replace(label=self._class(one.label), before=self._class(one.before))
            try:
                row = self._row(one)
                self._check(row, one)
                other = rows.setdefault(row, one)
                if (other.action, other.label) != (one.action, one.label):
                    what = f"{_said(other)} in line {other.line}, {_said(one)} here"
                    raise DataError(f"{one.path!r} is there twice: {what}.", "Remove one of them.")
            except DataError as error:
                problems.append((one.line, error))
        if problems:
            line, error = problems[0]
            more = f" ({len(problems) - 1} more do not fit)" if problems[1:] else ""
            where = f"line {line}: " if line else ""
            raise DataError(f"{where}{error.cause[:-1]}{more}.", f"{error.remedy} {_NOTHING}")
        return rows

    def _class(self, name: str) -> str:
        """Return a class as it is called: folders may have spaces at their ends, and people do."""
        return name if name in self.classes else name.strip()

    def _row(self, one: Decision) -> int:
        """Return the row of an image, however a person writes its path."""
        plain = os.path.normpath(one.path.strip())
        from_here = os.path.relpath(os.path.abspath(plain), self.snapshot.root)
        for path in (one.path, plain, from_here):
            for known in (self._place, self._written):
                if path in known:
                    return known[path]
        root, name = self.snapshot.root, self.snapshot.name
        like = self._by_name.get(os.path.basename(plain))
        if like is not None:
            hint = f"Did you mean {like}?"
        elif not one.path.isprintable():
            hint = "Save the file in UTF-8."
        else:
            hint = f"Paths are those below {root}; --dataset names another data set."
        raise DataError(f"data set {name!r} has no image {one.path!r}.", hint)

    @cached_property
    def _by_name(self) -> dict[str, str]:
        return {os.path.basename(path): path for path in reversed(self.snapshot.path)}

    def _check(self, row: int, one: Decision) -> None:
        now, digest = self.now[row], self.snapshot.digest[row].tobytes().hex()
        if not self.hashed[row]:
            raise DataError(
                f"{one.path!r} has not been read yet.", f"Run tlx embed {self.snapshot.root} first."
            )
        if one.digest and not digest.startswith(one.digest):
            raise DataError(
                f"{one.path!r} is another image than when this was decided ({one.digest[:12]}, "
                f"now {digest[:12]}).",
                "Look at it again; without its digest the line is taken as it is.",
            )
        if one.action == "relabel" and one.label not in self.classes:
            close = difflib.get_close_matches(one.label, sorted(self.classes), n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise DataError(
                f"no image has the label {one.label!r} that {one.path!r} is given.",
                f"{hint}If it is a new class: --new-class {shlex.quote(one.label)}.",
            )
        done = one.action != "keep" and now == (one.label or None)
        if one.before and one.before != now and not done:
            raise DataError(
                f"{one.path!r} has {_name(now)} now, not {one.before!r} as when this was decided.",
                "Look at it again; without its from the line is taken as it is.",
            )
        if one.action == "keep" and now is None:
            raise DataError(
                f"{one.path!r} has no label to keep.", "Give it one with the action relabel."
            )


_NOTHING = "Nothing was changed."


def _said(one: Decision) -> str:
    return f"{one.action} {one.label}".strip() if one.action == "relabel" else one.action


def _name(label: str | None) -> str:
    return "no label" if label is None else f"the label {label!r}"
