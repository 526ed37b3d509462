"""The manifest: a snapshot of a data set, which is all that tlx remembers of its images.

Layout, format 3 (N images), one HDF5 data set a column, after the user block described in
`tlx.cache.hdf5`, whose hash covers the whole file::

    path     (N,) string   relative to the root, or as the CSV gives it
    size     (N,) int64    bytes            mtime_ns (N,) int64   as the file system says
    digest   (N, 32) uint8 all zero while the file has not been read
    label    (N,) int32    index into class_names, -1 for none
    split    (N,) string   "train", "validation", "test" or ""
    group    (N,) string   images that belong together, "" for none
    width, height (N,) int32  pixels, 0 while unknown
    error    (N,) string   why the image cannot be used, "" if it can
    brightness, …, thumb (N, …)  how it looks: the fields of `tlx.cache.pictures.PICTURE`
    class_names (C,) string
    sources  (S,) string   JSON of each spec embedded for this data set, the latest last
    attributes of the file: format, version, name, root, decoder, validation_fraction, split_seed,
    tlx, created

Strings are UTF-8 of one fixed length a column, padded with zeros.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..errors import FormatError
from .files import remove_stale_temporaries
from .hdf5 import (
    NewerFormatError,
    damaged,
    open_checked,
    read_attribute,
    read_column,
    read_pieces,
    sealed_file,
    text_array,
    texts_of,
    write_column,
)
from .identity import canonical_json, fingerprint_of
from .pictures import PICTURE, measured, unmeasured

FORMAT = "tlx-manifest"
VERSION = 3
MAX_BYTES = 2**34  # about 400 bytes an image
# From 1 to 2: the share and seed of a split that tlx made are kept. A file of format 1 has neither,
# and what split it has stays as it is, without a rule for new images: fraction None, seed 0.

_UNKNOWN = -1.0  # a validation fraction of None, in the file
_STRINGS = ("path", "split", "group", "error")
_NUMBERS = {"size": np.int64, "mtime_ns": np.int64, "label": np.int32, "width": np.int32}
_NUMBERS["height"] = np.int32


@dataclass
class Manifest:
    """Which images a data set has, with their labels, splits and digests. N images.

    Attributes
    ----------
    name : str
        Name of the data set in its workspace.
    root : str
        Absolute path of the folder or archive that `path` is relative to, or a URL.
    class_names : tuple of str
        In the order of the label indices.
    path, split, group, error : list of N str
    size, mtime_ns : ndarray of shape (N,), int64
    label, width, height : ndarray of shape (N,), int32
    digest : ndarray of shape (N, 32), uint8
    pictures : ndarray of shape (N,), `tlx.cache.pictures.PICTURE`
        How the images look, as far as they were measured: `measure` writes into it, as it can be
        one record for all that is not to be written into.
    decoder : int
        Revision of the decoder that found the errors.
    sources : list of dict
        The specs embedded for this data set, the latest last: ``fingerprint``, ``spec`` and
        ``weights`` (where they were loaded from).
    validation_fraction : float or None
        Share of the images that `tlx.embed.splits` set aside for validation; 0 if the splits are
        those of the folders or there are none, None if an older tlx did not keep it.
    split_seed : int
        Seed of that split.
    """

    name: str
    root: str
    class_names: tuple[str, ...]
    path: list[str]
    size: np.ndarray
    mtime_ns: np.ndarray
    label: np.ndarray
    split: list[str]
    group: list[str]
    digest: np.ndarray = field(default_factory=lambda: np.zeros((0, 32), np.uint8))
    width: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    height: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    error: list[str] = field(default_factory=list)
    pictures: np.ndarray = field(default_factory=lambda: unmeasured(0))
    decoder: int = 0
    sources: list[dict[str, Any]] = field(default_factory=list)
    validation_fraction: float | None = 0.0
    split_seed: int = 0

    def __post_init__(self) -> None:
        n = len(self.path)
        unread = len(self.digest) != n
        if unread:
            self.digest = np.zeros((n, 32), np.uint8)
            self.width = np.zeros(n, np.int32)
            self.height = np.zeros(n, np.int32)
            self.error = [""] * n
        if unread or len(self.pictures) != n:
            self.pictures = unmeasured(n)

    def __len__(self) -> int:
        return len(self.path)

    @property
    def hashed(self) -> np.ndarray:
        """Which images have a digest, shape (N,) bool."""
        return np.asarray(np.ascontiguousarray(self.digest).view(np.uint64).any(axis=1))

    @property
    def usable(self) -> np.ndarray:
        """Which images were read and have no error, shape (N,) bool."""
        return self.hashed & ~np.fromiter(map(bool, self.error), bool, len(self))

    @property
    def measured(self) -> np.ndarray:
        """Of which images it is known how they look, shape (N,) bool."""
        return measured(self.pictures)

    def digest_bytes(self) -> list[bytes]:
        """Return each image's digest as 32 bytes."""
        flat = self.digest.tobytes()
        return [flat[i : i + 32] for i in range(0, len(flat), 32)]

    def measured_digests(self) -> set[bytes]:
        """Return the digests of images of which it is known how they look."""
        return {d for d, known in zip(self.digest_bytes(), self.measured, strict=True) if known}

    def measure(self, rows: int | np.ndarray, pictures: np.void | np.ndarray) -> None:
        """Note how the images `rows` look."""
        if not self.pictures.flags.writeable:
            self.pictures = self.pictures.copy()
        self.pictures[rows] = pictures

    def file(self, index: int) -> str:
        """Return the path or URL under which image `index` can be read."""
        return file_of(self.root, self.path[index])

    def adopt(self, previous: Manifest) -> None:
        """Take over what `previous` knows of files whose size and mtime are unchanged.

        What went wrong before a file could be read (no permission, say) is not taken over: it may
        have been put right without a trace in size or mtime.
        """
        self.sources = previous.sources
        self.recall(previous)

    def recall(self, previous: Manifest) -> None:
        """Take over only what `adopt` does of the images that this one does not know yet.

        Where nothing changed at all, how the images look is handed over, so that the memory holds
        it once: `previous` does not know it any more.
        """
        comparable = previous.root == self.root and previous.decoder == self.decoder
        if not comparable or len(previous) == 0:
            return
        alike = previous.path == self.path
        if alike:
            rows = np.arange(len(self))
        else:
            known = {path: row for row, path in enumerate(previous.path)}
            rows = np.array([known.get(path, -1) for path in self.path], np.intp)
        same = (
            (rows >= 0)
            & ~self.hashed
            & previous.hashed[rows]
            & (previous.size[rows] == self.size)
            & (previous.mtime_ns[rows] == self.mtime_ns)
            & (self.mtime_ns != -1)  # not known
        )
        for name in ("digest", "width", "height"):
            getattr(self, name)[same] = getattr(previous, name)[rows[same]]
        if alike and same.all():
            self.pictures, previous.pictures = previous.pictures, self.pictures
        elif same.any():
            self.measure(same, previous.pictures[rows[same]])
        theirs = np.fromiter(map(bool, previous.error), bool, len(previous))
        for row in np.flatnonzero(same & theirs[rows]).tolist():
            self.error[row] = self.error[row] or previous.error[rows[row]]

    def adopt_pictures(self, other: Manifest) -> None:
        """Take over how images look of which `other`, or this one itself, has a copy measured."""
        there = np.flatnonzero(other.measured)
        lacking = np.flatnonzero(self.hashed & ~self.measured)
        if not len(there) or not len(lacking):
            return
        digests = other.digest_bytes()
        known = {digests[row]: row for row in there}
        digests = self.digest_bytes()
        for row in lacking.tolist():
            if (found := known.get(digests[row])) is not None:
                self.measure(row, other.pictures[found])
                self.width[row] = max(self.width[row], other.width[found])  # 0 is not known
                self.height[row] = max(self.height[row], other.height[found])

    def record_source(self, fingerprint: str, spec_json: str, weights: str) -> None:
        """Note that `fingerprint` is the latest spec embedded for this data set."""
        entry = {"fingerprint": fingerprint, "spec": spec_json, "weights": weights}
        self.sources = [s for s in self.sources if s["fingerprint"] != fingerprint] + [entry]

    def save(self, path: Path) -> None:
        """Write the manifest to `path`, replacing it whole.

        Raises
        ------
        StorageError
            If it cannot be written. The old one is then still there.
        """
        fraction = self.validation_fraction
        attributes = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "root": os.fsencode(self.root),
            "decoder": self.decoder,
            "validation_fraction": _UNKNOWN if fraction is None else float(fraction),
            "split_seed": self.split_seed,
            "tlx": __version__,
            "created": time.time(),
        }
        with sealed_file(path, FORMAT, VERSION, MAX_BYTES) as file:
            file.attrs.update(attributes)
            for name in (*_STRINGS, "class_names"):
                file.create_dataset(name, data=text_array(getattr(self, name)))
            for name, dtype in _NUMBERS.items():
                file.create_dataset(name, data=getattr(self, name).astype(dtype))
            file.create_dataset("digest", data=self.digest)
            for name in PICTURE.names or ():
                write_column(file, name, self.pictures[name])
            # Not an attribute: those hold at most 64 KiB.
            file.create_dataset("sources", data=text_array(map(canonical_json, self.sources)))
        remove_stale_temporaries(path.parent)

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises
        ------
        FormatError
            If the file is damaged, foreign or from a newer tlx.
        FileNotFoundError
            If there is none.
        StorageError
            If the system refuses to read it.
        """
        try:
            with open_checked(path, FORMAT, VERSION, MAX_BYTES) as file:
                return _parse(path, file)
        except NewerFormatError:
            raise
        except FormatError as error:
            raise FormatError(error.cause, _REMEDY) from error

    def subset(self, rows: np.ndarray) -> Manifest:
        """Return a manifest of the images `rows`, in that order."""
        columns: dict[str, Any] = {}
        for name in _STRINGS:
            values = getattr(self, name)
            columns[name] = [values[row] for row in rows]
        for name in (*_NUMBERS, "digest", "pictures"):
            columns[name] = getattr(self, name)[rows]
        return dataclasses.replace(self, **columns)


def file_of(root: str, path: str) -> str:
    """Return what a path of a data set leads to: a CSV file may list URLs.

    Examples
    --------
    >>> file_of("photos", "s3://bucket/1.png"), file_of("s3://bucket/a", "1.png")
    ('s3://bucket/1.png', 's3://bucket/a/1.png')
    """
    return path if "://" in path else os.path.join(root, path)


_REMEDY = "Move the file away and run tlx embed again: cached features are found by digest."


def _parse(path: Path, file: Any) -> Manifest:
    columns: dict[str, Any] = {
        name: texts_of(read_column(path, file, name, "S", (-1,))) for name in _STRINGS
    }
    n = len(columns["path"])
    for name, dtype in _NUMBERS.items():
        columns[name] = read_column(path, file, name, dtype, (n,))
    columns["digest"] = read_column(path, file, "digest", np.uint8, (n, 32))
    columns["pictures"] = _read_pictures(path, file, n)
    classes = texts_of(read_column(path, file, "class_names", "S", (-1,)))
    label = columns["label"]
    lengths = {len(column) for column in columns.values()}
    if lengths != {n} or (n and not -1 <= label.min() <= label.max() < len(classes)):
        raise damaged(path, "its columns do not fit together")
    return Manifest(
        name=str(read_attribute(path, file, "name")),
        root=os.fsdecode(read_attribute(path, file, "root")),
        class_names=tuple(classes),
        decoder=int(read_attribute(path, file, "decoder")),
        sources=_read_sources(path, file),
        **_read_split(path, file, columns["split"]),
        **columns,
    )


def _read_pictures(path: Path, file: Any, n: int) -> np.ndarray:
    """Return how the images look; before format 3 that was not measured."""
    if int(read_attribute(path, file, "version")) < 3:
        return unmeasured(n)
    pictures = np.empty(n, PICTURE)
    for name in PICTURE.names or ():
        kind = PICTURE[name]
        for rows, part in read_pieces(path, file, name, kind.base, (n, *kind.shape)):
            pictures[name][rows] = part
            if kind.base.kind == "f" and np.isinf(part).any():
                raise damaged(path, f"{name!r} in it is infinite")
    return pictures


def _read_split(path: Path, file: Any, split: list[str]) -> dict[str, Any]:
    """Return the rule of the split; of format 1, which kept none, whether there may be one."""
    if int(read_attribute(path, file, "version")) == 1:
        return {"validation_fraction": None if "validation" in split else 0.0}
    fraction = float(read_attribute(path, file, "validation_fraction"))
    if fraction != _UNKNOWN and not 0 <= fraction < 1:
        raise damaged(path, f"a validation fraction of {fraction} cannot be")
    return {
        "validation_fraction": None if fraction == _UNKNOWN else fraction,
        "split_seed": int(read_attribute(path, file, "split_seed")),
    }


def _read_sources(path: Path, file: Any) -> list[dict[str, Any]]:
    sources = [
        json.loads(text) for text in texts_of(read_column(path, file, "sources", "S", (-1,)))
    ]
    for source in sources:
        spec, weights = source["spec"], source["weights"]
        if fingerprint_of(spec) != source["fingerprint"] or not isinstance(weights, str):
            raise damaged(path, "a spec in it does not have its fingerprint")
    return sources
