"""Where things lie in a workspace: features, data sets and runs, each in a folder of its own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from .cache.manifest import Manifest
from .errors import DataError, FormatError, UnknownNameError


class Workspace:
    """The folder in which tlx keeps everything it makes.

    Parameters
    ----------
    root : str or Path, default=".tlx"
        Need not exist yet.
    """

    def __init__(self, root: str | os.PathLike[str] = ".tlx") -> None:
        self.root = Path(root)

    def __fspath__(self) -> str:
        return os.fspath(self.root)

    @property
    def cache(self) -> Path:
        """Folder of the features, one folder a fingerprint."""
        return self.root / "cache"

    @property
    def runs(self) -> Path:
        """Folder of the runs, one folder a run."""
        return self.root / "runs"

    def manifest_path(self, name: str) -> Path:
        """Return where the manifest of data set `name` is."""
        return self.root / "datasets" / f"{name}.h5"

    def manifest_name(self, source: Path, name: str | None = None) -> str:
        """Return the name under which `source` is, or will be, known.

        It is the folder's own name; if another folder that still exists has taken that, a hash of
        the path is added.
        """
        if name is not None:
            check_slug(name, "data set name")
            return name
        plain = slug(source.name)  # with its suffix: data/ and data.csv are two data sets
        try:
            taken_by = Manifest.load(self.manifest_path(plain)).root
        except (FileNotFoundError, FormatError):
            return plain
        root = str(source.parent if source.is_file() else source)
        if taken_by == root or not os.path.exists(taken_by):
            return plain
        return f"{plain}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:6]}"

    def dataset_names(self) -> list[str]:
        """Return the names of all data sets, the latest embedded last."""
        paths = (self.root / "datasets").glob("*.h5")
        visible = [p for p in paths if not p.name.startswith(".")]
        return [p.stem for p in sorted(visible, key=lambda p: (p.stat().st_mtime_ns, p.name))]

    def load_manifest(self, name: str | None = None) -> Manifest:
        """Return the manifest of data set `name`; of the latest one by default.

        Raises
        ------
        DataError
            If the workspace has no data set at all.
        UnknownNameError
            If it has none of that name.
        """
        names = self.dataset_names()
        if not names:
            raise DataError(
                f"nothing is embedded in {self.root.absolute()} yet.", "Run tlx embed DATA first."
            )
        if name is None:
            name = names[-1]
        if name not in names:
            raise UnknownNameError.nearest("data set", name, names)
        return Manifest.load(self.manifest_path(name))


def several(values: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return `values` as a list; a single name or path is a list of one, not of its letters.

    Examples
    --------
    >>> several("photos"), several(["a.png", Path("b.png")])
    (['photos'], ['a.png', 'b.png'])
    """
    one = isinstance(values, str | os.PathLike)
    return [os.fspath(value) for value in ([values] if one else values)]


def check_slug(name: str, what: str, reserved: str | None = None) -> None:
    """Raise a `DataError` if `name`, which is to be a `what`, is no `slug` or is `reserved`."""
    if name != slug(name) or name == reserved:
        free = f"{reserved}-1" if slug(name) == reserved else slug(name)
        raise DataError(
            f"{name!r} is no {what}.",
            f"Use up to 100 letters, digits, '-', '_' and '.', for example {free!r}.",
        )


def slug(text: str) -> str:
    """Return `text` with everything but letters, digits, ``-``, ``_`` and ``.`` made ``-``.

    It is cut at 100 characters, and never begins with a full stop or a hyphen.

    Examples
    --------
    >>> slug("my photos (2024)")
    'my-photos-2024'
    """
    return re.sub(r"[^\w.-]+", "-", text)[:100].strip("-.") or "data"
