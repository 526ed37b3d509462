"""Corrections of labels: what a person decided of images, kept beside what the folders say.

One file a data set, canonical JSON in ASCII (see `tlx.cache.identity`)::

    format       "tlx-corrections"       version   1
    dataset      name of the data set
    corrections  objects with what `Correction` has, sorted by path; label is null for an image
                 that is left out, from is null for one that has no label in the folders
    sha256       of the canonical JSON of all the others

No image and no manifest is changed by it: a manifest is corrected as it is read, so that another
`tlx embed` finds the corrections again, and to remove the file is to undo them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from .files import open_binary, remove_stale_temporaries, storage_error, write_atomic
from .hdf5 import NewerFormatError
from .identity import canonical_json, fingerprint_of
from .manifest import Manifest

FORMAT = "tlx-corrections"
VERSION = 1
ACTIONS = ("relabel", "drop", "keep")
LEFT_OUT = "left out by tlx relabel"  # the error of an image in a corrected manifest
MAX_BYTES = 2**28

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Correction:
    """What a person decided of one image.

    Attributes
    ----------
    path : str
        As the manifest has it.
    action : {"relabel", "drop", "keep"}
        Another label, no place among the images, or: its label is right.
    label : str or None
        The label that it has by this; None if it is left out.
    source : str or None
        Its label in the folders when this was decided; None if it had none.
    digest : str
        SHA-256 of the image that was looked at, in hexadecimal.
    time : float
        When it was applied, in seconds since 1970.
    """

    path: str
    action: str
    label: str | None
    source: str | None
    digest: str
    time: float = 0.0


@dataclass(frozen=True)
class Corrected:
    """A manifest with its corrections in it.

    Attributes
    ----------
    manifest : Manifest
    stale : dict of str to str
        Why a correction is not applied, by path: it was of another image than there is now.
    """

    manifest: Manifest
    stale: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Corrections:
    """All that was decided of the images of a data set.

    Attributes
    ----------
    dataset : str
    by_path : dict of str to Correction
    """

    dataset: str
    by_path: Mapping[str, Correction] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.by_path)

    def correct(self, manifest: Manifest) -> Corrected:
        """Return a copy of a manifest in which labels are as they were decided.

        An image that is left out has no label, and the error `LEFT_OUT`. A correction counts only
        for the very image that was looked at, and while the folders say of it what they said then
        (or what was decided). The classes are those that still have an image.
        """
        if not self.by_path:
            return Corrected(manifest)
        place = {path: row for row, path in enumerate(manifest.path)}
        digests, hashed = manifest.digest, manifest.hashed
        names = label_names(manifest)
        error, stale = list(manifest.error), {}
        for path, one in self.by_path.items():
            row = place.get(path)
            if row is None:
                stale[path] = "the image is no longer there"
            elif not hashed[row]:
                stale[path] = "the image is not embedded yet"
            elif digests[row].tobytes().hex() != one.digest:
                stale[path] = "another image is there now"
            elif names[row] not in (one.source, one.label):
                stale[path] = f"the folders say {names[row] or 'nothing'} now, not {one.source}"
            else:
                names[row] = one.label
                if one.action == "drop":
                    error[row] = LEFT_OUT
        classes = tuple(sorted({name for name in names if name is not None}))
        index = {name: i for i, name in enumerate(classes)}
        label = np.array([-1 if name is None else index[name] for name in names], np.int32)
        changed = dataclasses.replace(manifest, class_names=classes, label=label, error=error)
        return Corrected(changed, stale)

    def told(self, corrected: Corrected) -> list[str]:
        """Return what is to be said of corrections where a data set is looked at again.

        Examples
        --------
        >>> Corrections("photos").told(Corrected(manifest=None))
        []
        """
        n = sum(p not in corrected.stale for p, c in self.by_path.items() if c.action != "keep")
        lines = [f"{_number(n)} of labels {'is' if n == 1 else 'are'} applied"] if n else []
        if stale := len(corrected.stale):
            why = (
                "is not, as its image or label is"
                if stale == 1
                else ("are not, as their images or labels are")
            )
            lines.append(f"{_number(stale)} of labels {why} another since")
        return [f"{'; '.join(lines)} (tlx relabel shows them)"] if lines else []

    def save(self, path: Path) -> None:
        """Write the file, replacing it whole.

        Raises
        ------
        StorageError
            If it cannot be written. The old one is then still there.
        """
        entries = [_as_json(self.by_path[path]) for path in sorted(self.by_path)]
        body = {
            "format": FORMAT,
            "version": VERSION,
            "dataset": self.dataset,
            "corrections": entries,
        }
        sealed = {**body, "sha256": fingerprint_of(canonical_json(body))}
        write_atomic(path, canonical_json(sealed).encode("ascii"))
        remove_stale_temporaries(path.parent)

    @classmethod
    def load(cls, path: Path, dataset: str) -> Corrections:
        """Read the corrections of a data set; without a file there are none.

        Raises
        ------
        FormatError
            If the file is damaged, of another data set, or not one of corrections.
        NewerFormatError
            If a newer tlx wrote it.
        StorageError
            If the system refuses to read it.
        """
        try:
            with open_binary(path) as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return cls(dataset)
        except OSError as error:
            raise storage_error(error, path, reading=True) from error
        try:
            return _parse(path, data, dataset)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            if isinstance(error, FormatError):
                raise
            raise _refused(path, "is damaged") from error


def _number(n: int) -> str:
    return f"{n} correction{'' if n == 1 else 's'}"


def label_names(manifest: Manifest) -> list[str | None]:
    """Return the class of each image by name, None where it has none."""
    names = manifest.class_names
    return [None if label < 0 else names[label] for label in manifest.label.tolist()]


def _refused(path: Path, why: str) -> FormatError:
    return FormatError(
        f"the corrections of labels in {path} cannot be used: the file {why}.",
        "Put back a copy of it, or set it aside: tlx relabel --undo",
    )


def _parse(path: Path, data: bytes, dataset: str) -> Corrections:
    if len(data) > MAX_BYTES:
        raise _refused(path, f"is larger than {MAX_BYTES:,} bytes")
    body: dict[str, Any] = json.loads(data.decode("ascii"))
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise _refused(path, "is not one of corrections")
    if isinstance(body["version"], int) and body["version"] > VERSION:
        raise NewerFormatError(
            f"{path} was written by a newer tlx (format {body['version']}).", "Upgrade tlx."
        )
    sha256 = body.pop("sha256")
    if fingerprint_of(canonical_json(body)) != sha256 or body["version"] != VERSION:
        raise _refused(path, "is damaged")
    if body["dataset"] != dataset:
        raise _refused(path, f"is of data set {body['dataset']!r}")
    entries = [_from_json(entry) for entry in body["corrections"]]
    by_path = {entry.path: entry for entry in entries}
    if len(by_path) < len(entries) or not all(map(_is_sane, entries)):
        raise _refused(path, "is damaged")
    return Corrections(dataset, by_path)


def _as_json(one: Correction) -> dict[str, str | None]:
    fields = dataclasses.asdict(one)
    return {**fields, "from": fields.pop("source")}


def _from_json(entry: dict[str, Any]) -> Correction:
    return Correction(
        path=entry["path"],
        action=entry["action"],
        label=entry["label"],
        source=entry["from"],
        digest=entry["digest"],
        time=float(entry["time"]),
    )


def _is_sane(one: Correction) -> bool:
    texts = (one.path, one.action, one.digest)
    names = [name for name in (one.label, one.source) if name is not None]
    return (
        all(isinstance(text, str) for text in (*texts, *names))
        and one.action in ACTIONS
        and (one.label is None) == (one.action == "drop")
        and all([one.path, *names])
        and _DIGEST.fullmatch(one.digest) is not None
    )
