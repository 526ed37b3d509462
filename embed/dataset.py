"""Find the images of a data set, their labels and their splits, by looking at the folder or CSV."""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np

from ..cache.manifest import Manifest, file_of
from ..cache.pictures import unmeasured
from ..errors import DataError
from ..workspace import whole_path
from .archive import local_archive, too_large
from .images import DECODER_REVISION
from .remote import forget_archives, listing, local_path, locate, read_early, stat_all
from .tree import FolderTree, Found, ListedTree, Tree, is_safe
from .trouble import FetchError
from .urls import clean_url, is_url, join_url, parent_of

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("eval", "evaluation"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}
# What people add to those names: train_set, val-images, TestData, train2017.
_SPLIT_SUFFIX = re.compile(r"(sets?|data|images?|imgs?|split|folder)?\d*$")
_WRAPPERS = 8  # folders in folders that are passed through; a link to itself has no end
_LAYOUTS = (
    "Expected one folder a class (data/cats/…, data/dogs/…), or train/, validation/ and test/ with "
    "one folder a class in each, or a CSV file with the columns path,label."
)


@dataclass
class Scan:
    """What a look at a data set found.

    Attributes
    ----------
    manifest : Manifest
        The images, none of them read yet.
    layout : {"classes", "splits", "csv", "flat"}
    ignored : Counter
        Files that are no images, by suffix; hidden files count as ``"hidden"``.
    empty_classes : list of str
        Class folders without a single image.
    outside : int
        Images that lie beside the class folders and so have no class.
    notes : list of str
        How the layout was understood where one might expect otherwise.
    source : str
        What was looked at: an absolute path, or a URL.
    """

    manifest: Manifest
    layout: str
    ignored: Counter[str] = field(default_factory=Counter)
    empty_classes: list[str] = field(default_factory=list)
    outside: int = 0
    notes: list[str] = field(default_factory=list)
    source: str = ""


def scan(source: str | os.PathLike[str], name: str = "data") -> Scan:
    """Look at a folder or CSV file and return its images, with labels and splits where it has them.

    Nothing is decoded. A file is an image by its suffix or by its first bytes; a file that has
    neither is ignored and counted. Links are followed, each folder once. The layout is one of

    - ``source/<class>/…`` with any depth below the class;
    - ``source/<split>/<class>/…`` where every folder (or at least a train folder and another) is
      named as a split: train, training; validation, valid, val, dev, eval; test, testing, holdout;
      also with "set", "data", "images" or digits behind it, as in ``train_set`` or ``val2017``;
    - a CSV file with the columns ``path,label`` and optionally ``split,group``, paths relative to
      it;
    - images only, without classes: good for embedding and predicting.

    It may lie elsewhere, or in an archive: see `tlx.embed.remote`. There a file is an image by its
    suffix alone. Lines of a CSV file may be URLs, wherever it lies.

    A folder that only wraps others (the one folder at its place, without images of its own) is
    passed through, and told. Where one folder has the name of a split and holds folders, and others
    have not, nothing is guessed: it is refused. Folders that all have the same subfolders are
    classes, whatever they are called, and that is told as well.

    Raises
    ------
    DataError
        If `source` does not exist, has no images, could be meant in two ways, or is a CSV that
        cannot be understood or whose files do not exist.
    """
    forget_archives()
    place = locate(source)
    if place is None:
        place = str(whole_path(local_path(os.fspath(source))))
        found, root = _scan_local(place, source)
    elif is_csv(place):
        found, root = _scan_csv(place), parent_of(place)
    else:
        found, root = _scan_tree(ListedTree(place, listing(place))), place
    files, result = found
    if not files:
        seen = sum(result.ignored.values())
        raise DataError(f"no images in {place} ({seen} other files were ignored).", _LAYOUTS)
    result.manifest, result.source = _manifest(files, root, name), place
    return result


def _scan_local(path: str, source: object) -> tuple[tuple[list[Found], Scan], str]:
    # os.path and not Path: before Python 3.14 Path's tests raise where a folder denies access.
    if os.path.isdir(path):
        return _scan_tree(FolderTree(Path(path))), path
    if os.path.isfile(path) and is_csv(path):
        return _scan_csv(path), os.path.dirname(path)
    if os.path.exists(path):
        raise DataError(f"{source} is neither a folder nor a CSV file.", _LAYOUTS)
    raise DataError(f"{source} does not exist, or may not be seen.", "Check the path.")


def is_csv(place: str) -> bool:
    """Tell whether a path or URL is meant as a CSV file."""
    return (place.partition("?")[0] if is_url(place) else place).lower().endswith(".csv")


def image_paths(folder: str | os.PathLike[str]) -> list[str]:
    """Return the paths of all images in and below `folder`, relative to it, whatever its layout.

    Raises
    ------
    DataError
        If a folder cannot be read.
    """
    place = locate(folder)
    tree: Tree = FolderTree(whole_path(local_path(os.fspath(folder))))
    if place is not None:
        tree = ListedTree(place, listing(place))
    return [found.path for found in tree.walk("", Counter())]


def split_of(name: str) -> str | None:
    """Return the split that a folder's name, or the word in a CSV, stands for, if any.

    Examples
    --------
    >>> split_of("Val"), split_of("train_set"), split_of("trains")
    ('validation', 'train', None)
    """
    plain = re.sub(r"[-_ .]", "", name.lower())
    return _SPLIT_NAMES.get(plain) or _SPLIT_NAMES.get(_SPLIT_SUFFIX.sub("", plain, count=1))


def _scan_tree(tree: Tree) -> tuple[list[Found], Scan]:
    result = Scan(manifest=_manifest([], tree.root, ""), layout="flat")
    below, top, folders = _unwrapped(tree, "", result)
    splits = [folder for folder in folders if split_of(folder)]
    kinds = {split_of(folder) for folder in splits}
    if splits and (len(splits) == len(folders) or ("train" in kinds and len(kinds) > 1)):
        return _scan_splits(tree, below, splits, folders, top, result)
    _refuse_half_split(tree, below, splits, folders)
    files = _scan_classes(tree, below, "", folders, result)
    if not files:  # images only
        return top, result
    result.layout = "classes"
    result.outside += len(top)
    _tell_shared_subfolders(tree, below, folders, result)
    return files, result


def _unwrapped(tree: Tree, below: str, result: Scan) -> tuple[str, list[Found], list[str]]:
    """Return the first folder in and below ``below`` that does not only wrap another one.

    Returns
    -------
    below : str
        Its path, relative to the root of the tree.
    top : list
        The images directly in it, with paths relative to that root.
    folders : list of str
        Names of its visible subfolders.
    """
    top, folders = tree.inside(below, result.ignored)
    inner, images, inside = below, top, folders
    for _ in range(_WRAPPERS):
        if images or len(inside) != 1 or split_of(inside[0]):
            break
        inner = os.path.join(inner, inside[0])
        images, inside = tree.inside(inner, Counter())
    if inner == below or images or not (len(inside) > 1 or any(map(split_of, inside))):
        return below, top, folders  # nothing wraps, or what is inside is one class
    result.notes.append(
        f"the folder {inner!r} only wraps others: the classes, or splits, are looked for in it"
    )
    return inner, images, inside


def _refuse_half_split(tree: Tree, below: str, splits: list[str], folders: list[str]) -> None:
    """Raise if a folder looks like a split, with folders and no images in it, and others do not."""
    for split in splits:
        images, classes = tree.inside(os.path.join(below, split), Counter())
        if images or not classes:
            continue  # a class that has the name of a split
        others = [folder for folder in folders if folder not in splits]
        place = os.path.join(tree.root, below, split)
        raise DataError(
            f"{place} looks like a split ({', '.join(classes[:3])} are in it), but "
            f"{', '.join(others[:3])} beside it {'are' if len(others) > 1 else 'is'} none.",
            "Name the folders train, validation and test, with one folder a class in each; or move "
            "what is no split away; or list path,label,split in a CSV file.",
        )


def _tell_shared_subfolders(tree: Tree, below: str, folders: list[str], result: Scan) -> None:
    """Tell that folders which all have the same subfolders were taken for classes."""
    inside = [set(tree.folders(os.path.join(below, name))) for name in folders]
    if len(folders) > 1 and len(inside[0]) > 1 and all(part == inside[0] for part in inside):
        result.notes.append(
            f"the classes are {', '.join(sorted(folders)[:5])}, not the folders "
            f"{', '.join(sorted(inside[0])[:5])} that each of them has; if they are splits, name "
            "them train, validation and test"
        )


def _scan_splits(
    tree: Tree,
    below: str,
    splits: list[str],
    folders: list[str],
    top: list[Found],
    result: Scan,
) -> tuple[list[Found], Scan]:
    files: list[Found] = []
    result.outside += len(top)
    for folder in splits:
        inner, beside, classes = _unwrapped(tree, os.path.join(below, folder), result)
        result.outside += len(beside)
        files += _scan_classes(tree, inner, split_of(folder) or "", classes, result)
    for other in set(folders) - set(splits):
        result.outside += sum(1 for _ in tree.walk(os.path.join(below, other), result.ignored))
    if not files and result.outside:
        raise DataError(
            f"the split folders of {tree.root} hold images but no class folders.", _LAYOUTS
        )
    result.layout = "splits"
    return files, result


def _scan_classes(
    tree: Tree, below: str, split: str, classes: list[str], result: Scan
) -> list[Found]:
    files = []
    for name in classes:
        count = len(files)
        for found in tree.walk(os.path.join(below, name), result.ignored):
            found.label, found.split = name, split
            files.append(found)
        if len(files) == count:
            result.empty_classes.append(os.path.join(below, name))
    return files


def _scan_csv(place: str) -> tuple[list[Found], Scan]:
    result = Scan(manifest=_manifest([], "", ""), layout="csv")
    try:
        with _opened_text(place) as file:
            reader = csv.DictReader(file)
            columns = [name.strip().lower() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            if "path" not in columns:
                raise DataError(
                    f"{place} has no column 'path': {', '.join(columns) or 'it is empty'}.",
                    "Its first line must be path,label and optionally split,group.",
                )
            rows = [(reader.line_num, row) for row in reader]
    except FetchError as error:
        raise error.data_error(place) from None
    except OSError as error:
        raise DataError(f"{place} cannot be read: {error.strerror}.", "Check it.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{place} is not a CSV file in UTF-8: {error}.", _LAYOUTS) from error
    if "label" not in columns:
        result.notes.append(_without_label(place, columns))
    files: dict[str, Found] = {}
    local, root = locate(place) is None, parent_of(place)
    for line, row in rows:
        try:
            found = _csv_row(root, local, row)
        except DataError as error:
            where = f"{place}, line {line}: {error.cause}"
            raise DataError(where, error.remedy) from None
        if files.setdefault(found.path, found) is not found:
            raise DataError(f"{place}, line {line}: {found.path!r} is there twice.", "Keep one.")
    _look_at(root, list(files.values()))
    _check_exist(place, root, list(files.values()))
    return list(files.values()), result


def _opened_text(place: str) -> TextIO:
    if locate(place) is None:
        return open(place, newline="", encoding="utf-8-sig")
    return io.StringIO(read_early(place).decode("utf-8-sig"), newline="")


def _without_label(place: str, columns: list[str]) -> str:
    """Say that the images of a CSV file have no classes, and which column may have been meant."""
    words = ("class", "classes", "labels", "category", "target", "species", "name", "y")
    meant = [c for c in columns if c in words or difflib.get_close_matches(c, ["label"])]
    hint = f"; is {meant[0]!r} meant? Then call it 'label'" if meant else ""
    return f"{os.path.basename(place)} has no column 'label': its images have no classes{hint}"


def _check_exist(place: str, root: str, files: list[Found]) -> None:
    """Raise if not one of the files of a CSV file exists."""
    gone = [found for found in files if found.error]
    if not files or len(gone) < len(files):
        return
    some = "; ".join(f"{file_of(root, f.path)} ({f.error})" for f in gone[:3])
    raise DataError(
        f"none of the {len(files)} files that {place} lists can be opened: {some}.",
        f"Its paths must be absolute, or relative to the folder that it lies in: {root}",
    )


def _csv_row(root: str, local: bool, row: dict[str, str | None]) -> Found:
    """Return what a line of a CSV file in `root` tells, not looked at yet."""
    text = {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
    if not text["path"]:
        raise DataError("the path is empty.", "Fill it in.")
    split = text.get("split", "")
    if split and not split_of(split):
        raise DataError(
            f"unknown split {split!r}.", "Use train, validation or test, or leave it empty."
        )
    path = text["path"]
    if local:
        path = local_path(path)
        path = clean_url(path) if is_url(path) else os.path.normpath(path)
    elif is_url(root) or is_url(path):
        path = join_url(root, path).removeprefix(f"{root}/")
    elif not is_safe(path):
        raise DataError(f"{path!r} leads out of the archive.", "Name what is in it, or a URL.")
    return Found(
        path,
        label=text.get("label") or None,
        split=split_of(split) or "",
        group=text.get("group", ""),
    )


def _look_at(root: str, files: list[Found]) -> None:
    """Note size and time of the files of a CSV file, or why they cannot be read."""
    elsewhere = []
    for found in files:
        place = file_of(root, found.path)
        if is_url(place):
            elsewhere.append((found, place))
            continue
        try:
            status = os.stat(place)
        except NotADirectoryError as error:
            if local_archive(place):
                elsewhere.append((found, place))
            else:
                found.error = (error.strerror or str(error)).lower()
            continue
        except OSError as error:
            found.error = (error.strerror or str(error)).lower()
            continue
        except ValueError:  # a NUL character
            found.error = "not a file name"
            continue
        if not stat.S_ISREG(status.st_mode):
            found.error = "not a regular file"
        found.size, found.mtime_ns = status.st_size, status.st_mtime_ns
    for (found, _), told in zip(elsewhere, stat_all([p for _, p in elsewhere]), strict=True):
        found.size, found.mtime_ns, found.error = told
        found.error = found.error or too_large(found.size)


def _manifest(files: list[Found], root: str, name: str) -> Manifest:
    classes, n = tuple(sorted({f.label for f in files if f.label is not None})), len(files)
    index = {label: i for i, label in enumerate(classes)}
    return Manifest(
        name=name,
        root=root,
        class_names=classes,
        path=[f.path for f in files],
        size=np.array([f.size for f in files], np.int64),
        mtime_ns=np.array([f.mtime_ns for f in files], np.int64),
        label=np.array([-1 if f.label is None else index[f.label] for f in files], np.int32),
        split=[f.split for f in files],
        group=[f.group for f in files],
        digest=np.zeros((n, 32), np.uint8),
        width=np.zeros(n, np.int32),
        height=np.zeros(n, np.int32),
        error=[f.error for f in files],
        pictures=np.broadcast_to(unmeasured(1), n),
        decoder=DECODER_REVISION,
    )
