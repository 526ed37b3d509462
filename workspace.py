"""Where things lie in a workspace: features, data sets and runs, each in a folder of its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .cache.corrections import Corrected, Corrections
from .cache.hdf5 import NewerFormatError
from .cache.manifest import Manifest
from .errors import DataError, FormatError, UnknownNameError

_SAMPLE = 32  # images looked for to recognise a data set that was moved


class Known(NamedTuple):
    """What a workspace knows of a folder or CSV file.

    Attributes
    ----------
    name : str
        Name of its data set, there already or to be made.
    manifest : Manifest or None
    problem : str
        Why there is a manifest that cannot be read, "" otherwise.
    """

    name: str
    manifest: Manifest | None = None
    problem: str = ""


class Workspace:
    """The folder in which tlx keeps everything it makes.

    Parameters
    ----------
    root : str or Path, default=".tlx"
        Need not exist yet.
    """

    def __init__(self, root: str | os.PathLike[str] = ".tlx") -> None:
        self.root = Path(root)
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]", os.fspath(root)):
            raise DataError(
                f"{root} is no folder: a workspace lies on a file system.",
                "Leave out --workspace, or name a folder; images may lie in object storage.",
            )

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

    @property
    def evaluations(self) -> Path:
        """Folder of what was evaluated, one folder a set of test images."""
        return self.root / "evaluations"

    @property
    def near(self) -> Path:
        """Folder of the near-duplicates that were found, a file a set of images and features."""
        return self.root / "near"

    @property
    def tables(self) -> Path:
        """Folder of gathered features of many images, a file each; all can be made again."""
        return self.root / "tables"

    @property
    def parts(self) -> Path:
        """Folder of what is known of parts of data sets that are not complete yet."""
        return self.root / "parts"

    def manifest_path(self, name: str) -> Path:
        """Return where the manifest of data set `name` is."""
        return self.root / "datasets" / f"{name}.h5"

    def corrections_path(self, name: str) -> Path:
        """Return where the corrections of labels of data set `name` are, if it has any."""
        return self.root / "corrections" / f"{name}.json"

    def corrections(self, name: str) -> Corrections:
        """Return what was decided of the images of data set `name` by ``tlx relabel``.

        Raises
        ------
        FormatError
            If the file is damaged or foreign.
        """
        return Corrections.load(self.corrections_path(name), name)

    def correct(self, manifest: Manifest) -> Corrected:
        """Return a manifest as the folders have it with the corrections of its labels in it.

        Raises
        ------
        FormatError
            See `corrections`.
        """
        return self.corrections(manifest.name).correct(manifest)

    def find_dataset(
        self, source: str | os.PathLike[str], name: str | None = None, root: str | None = None
    ) -> Known:
        """Return the name under which a data set is, or will be, known, and what is known of it.

        The name is the folder's own; if another data set has taken that, a hash of the path is
        added. A folder that was moved takes its data set along: the old folder is gone, and the
        images are here.

        Parameters
        ----------
        source : path
            Absolute, of a folder, an archive or a CSV file; or a URL.
        name : str, optional
        root : str, optional
            What the paths of the images are relative to; by default `source`.

        Raises
        ------
        DataError
            If `name` is no name for a data set, or that of another one.
        NewerFormatError
            If a newer tlx wrote its manifest.
        """
        source = os.fspath(source)
        root = source if root is None else root
        if name is not None:
            check_slug(name, "data set name")
        # With its suffix: data/ and data.csv are two data sets.
        plain = name or slug(os.path.basename(source))
        hashed = f"{plain}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:6]}"
        for candidate in (plain, hashed):
            try:
                found = Manifest.load(self.manifest_path(candidate))
            except FileNotFoundError:
                return Known(candidate)
            except NewerFormatError:
                raise
            except FormatError as error:
                return Known(candidate, problem=error.cause)
            if found.root == root or _was_moved(found, root):
                return Known(candidate, found)
            if name is not None:
                raise DataError(
                    f"data set {name!r} is that of {found.root}, not of {root}.",
                    "Use another --name.",
                )
        return Known(hashed)

    def dataset_names(self) -> list[str]:
        """Return the names of all data sets, the latest embedded last."""
        paths = (self.root / "datasets").glob("*.h5")
        visible = [p for p in paths if not p.name.startswith(".")]
        return [p.stem for p in sorted(visible, key=lambda p: (p.stat().st_mtime_ns, p.name))]

    def load_manifest(self, name: str | None = None) -> Manifest:
        """Return the manifest of data set `name`, of the latest one by default, corrected.

        Labels are those that ``tlx relabel`` gave, where it did. It is not to be saved: the file
        has what the folders say.

        Raises
        ------
        FormatError
            If its corrections cannot be read, or it cannot.
        DataError, UnknownNameError
            See `load_snapshot`.
        """
        return self.correct(self.load_snapshot(name)).manifest

    def load_snapshot(self, name: str | None = None) -> Manifest:
        """Return the manifest of data set `name` as `tlx embed` left it, without corrections.

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


def whole_path(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path whose last part is the folder's or file's own name.

    ``.`` and ``..`` are resolved; links are not, where they need not be, so that a link to a
    folder gives its data set the name it has here.
    """
    path = Path(path)
    return path.resolve() if ".." in path.parts else Path(os.path.abspath(path))


def _was_moved(manifest: Manifest, root: str) -> bool:
    """Tell whether a data set whose folder is gone lies at `root` now, by some of its images."""
    n = len(manifest)
    if not n or "://" in manifest.root or os.path.exists(manifest.root):
        return False
    some = range(0, n, -(-n // _SAMPLE))
    here = 0
    for row in some:
        with contextlib.suppress(OSError, ValueError):
            here += os.path.getsize(os.path.join(root, manifest.path[row])) == manifest.size[row]
    return 2 * here >= len(some)


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
