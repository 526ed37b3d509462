"""The photos that a page shows: each is in it once, however often it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..cache.manifest import Manifest
from ..reprs import readable
from .thumbnails import Thumbnail


@dataclass
class Photo:
    """One photo of a page.

    Attributes
    ----------
    path : str
        Relative to the root of the data set; what is no UTF-8 in it is escaped.
    label : str
        Its class, "" if it has none.
    digest : str
        SHA-256 of its file as 64 hexadecimal digits; "" if it is not in the data set any more.
    file : str
        Where it lies; "" if it is not in the data set any more.
    said : str
        What the run said of it, "" if it did not score it.
    thumbnail : Thumbnail or None
    """

    path: str
    label: str = ""
    digest: str = ""
    file: str = ""
    said: str = ""
    thumbnail: Thumbnail | None = None

    @property
    def is_there(self) -> bool:
        """Whether it is in the data set: corrections of others would be refused."""
        return bool(self.digest)

    def as_list(self) -> list[Any]:
        """Return what the page's script needs, as JSON."""
        small = self.thumbnail
        return [self.path, self.label, self.digest, self.said, small.uri if small else ""]


@dataclass
class Album:
    """Photos by number, those that matter most first.

    Attributes
    ----------
    manifest : Manifest
    said : mapping of str to str
        What a run says of images, by path.
    photos : list of Photo
    """

    manifest: Manifest
    said: Mapping[str, str] = field(default_factory=dict)
    photos: list[Photo] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _rows: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rows = {path: row for row, path in enumerate(self.manifest.path)}

    def add(self, path: str) -> int:
        """Return the number of a photo, which is in the album from now on."""
        if path not in self._numbers:
            self._numbers[path] = len(self.photos)
            self.photos.append(self._photo(path))
        return self._numbers[path]

    @property
    def paths(self) -> list[str]:
        """The paths of the photos as the manifest has them."""
        return list(self._numbers)

    def label_of(self, path: str) -> str:
        """Return the class of an image as it is now, "" if it has none."""
        row = self._rows.get(path, -1)
        label = int(self.manifest.label[row]) if row >= 0 else -1
        return self.manifest.class_names[label] if label >= 0 else ""

    def _photo(self, path: str) -> Photo:
        row = self._rows.get(path)
        shown, said = readable(path), self.said.get(path, "")
        if row is None:
            return Photo(shown, said=said)
        digest = bytes(self.manifest.digest[row]).hex()
        return Photo(shown, self.label_of(path), digest, self.manifest.file(row), said)
