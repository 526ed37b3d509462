"""A part of a data set, for machines that share the work: which images, and what is known of them.

What a part found out lies in a file of its own, a manifest of its images alone, and under
``parts/`` instead of ``datasets/``: no command takes it for a data set. `tlx embed` of the whole
takes over what the parts know, embeds what is missing, and makes the data set.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..cache.manifest import Manifest
from ..cache.store import shard_files
from ..errors import DataError, FormatError
from ..workspace import Workspace


class Part(NamedTuple):
    """One of several parts of a data set.

    Attributes
    ----------
    number : int
        From 1 to `of`.
    of : int
        How many parts there are.

    Examples
    --------
    >>> str(Part(3, 16))
    '3/16'
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, value: str | Sequence[int]) -> Part:
        """Return the part that ``"3/16"`` or ``(3, 16)`` names.

        Raises
        ------
        DataError
            If it names none.

        Examples
        --------
        >>> Part.parse("3/16") == Part.parse((3, 16)) == (3, 16)
        True
        """
        words = value.split("/") if isinstance(value, str) else [str(word) for word in value]
        if len(words) == 2 and all(word.isascii() and word.isdigit() for word in words):
            part = cls(*map(int, words))
            if 1 <= part.number <= part.of:
                return part
        raise DataError(
            f"{value!r} is no part of a data set.",
            "Use its number and how many there are, from 1/16 to 16/16 where there are sixteen.",
        )

    def rows(self, manifest: Manifest) -> np.ndarray:
        """Return the rows of a manifest that belong to this part.

        Each image's part is that of a hash of its path relative to the root of the data set: it
        depends on no other image, and on no machine.
        """
        chosen = [_hash(path) % self.of == self.number - 1 for path in manifest.path]
        return np.flatnonzero(np.array(chosen, bool))

    def file(self, workspace: Workspace, manifest: Manifest) -> Path:
        """Return where what this part knows of a data set is kept."""
        root = hashlib.sha256(os.fsencode(manifest.root)).hexdigest()[:6]
        name = f"{manifest.name}-{root}-{self.number}-of-{self.of}.h5"
        return workspace.parts / name


def wanted_part(
    value: str | Sequence[int] | None, validation_fraction: float | None = None
) -> Part | None:
    """Return the part that an argument names, None if that is the whole data set.

    Raises
    ------
    DataError
        If there is no such part, or it is to be split: what a split needs is known of no part.
    """
    if value is None:
        return None
    part = Part.parse(value)
    if validation_fraction is not None:
        raise DataError(
            f"part {part} alone cannot be split.",
            "Give the validation fraction to the last tlx embed, the one of the whole data set.",
        )
    return part


def known_parts(workspace: Workspace, manifest: Manifest) -> dict[Path, Manifest]:
    """Return what parts of this data set left, by their files; damaged ones are passed over.

    They only spare the reading of files: the features are found without them.
    """
    parts = {}
    for path in shard_files(workspace.parts):
        with contextlib.suppress(FormatError, FileNotFoundError):
            part = Manifest.load(path)
            if part.name == manifest.name or part.root == manifest.root:
                parts[path] = part
    return parts


def drop_parts(parts: dict[Path, Manifest], whole: Manifest) -> None:
    """Remove the files of parts that tell nothing that a finished data set does not know.

    What a part was told meanwhile by a process still at work comes again with its next save.
    """
    digests = set(whole.digest_bytes()) if parts else set()
    for path, part in parts.items():
        same = (part.name, part.root) == (whole.name, whole.root)
        if same or digests.issuperset(part.digest_bytes()):
            with contextlib.suppress(OSError):
                path.unlink()


def _hash(path: str) -> int:
    name = os.fsencode(path.replace(os.sep, "/"))
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
