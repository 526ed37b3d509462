"""What a run folder says is checked before any of it is used, because it may come from elsewhere.

``run.json`` must have the types and ranges that tlx writes, a part must be a plain file within the
folder that has its SHA-256, and an HDF5 part must hold nothing but data sets of its own. What is
left is arithmetic on arrays.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...cache.files import open_binary, storage_error
from ...cache.hdf5 import checked_dataset, open_image
from ...cache.spec import FeatureSpec
from ...errors import FormatError, TlxError
from ..duplicates import HANDLING
from ..heads.predictors import head_file
from ..sources import MAX_VIEWS, MEAN

REFIT = "The run cannot be trusted: fit it again with tlx fit-head."
INFO_BYTES = 64 * 2**20  # of run.json: the confusion matrix of 2,000 classes has 30 MiB
PART_BYTES = 8 * 2**30  # of any other part: predictions of a million images, 1,000 classes, 4 GiB
MAX_FEATURES = 2**24  # of a classifier of somebody else's, which is tried with one row of so many
MAX_IMAGE_SIZE = 8192  # pixels a side; more would be a claim on the memory, not a network

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_HASH = re.compile(r"[0-9a-f]{64}")


def read_info(folder: Path, form: str, version: int) -> dict[str, Any]:
    """Return the content of a run's ``run.json``, all of it checked.

    Raises
    ------
    FormatError
        If it is missing, damaged, foreign or from a newer tlx.
    StorageError
        If the system refuses to read it.
    """
    try:
        with _open_plain(folder, "run.json", INFO_BYTES) as file:
            info = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        if isinstance(error, TlxError):
            raise
        raise FormatError(f"{folder} is no run: {_short(error)}.", REFIT) from error
    if not isinstance(info, dict) or info.get("format") != form:
        raise FormatError(f"{folder} is no run of tlx.", REFIT)
    if type(info.get("version")) is not int or not 1 <= info["version"] <= version:
        raise FormatError(
            f"{folder} has format {_shown(info.get('version'))}, and this tlx reads formats 1 to "
            f"{version}.",
            "Run: pip install --upgrade tlx-vision",
        )
    _check_info(folder, info)
    return info


def check_part(folder: Path, part: str, parts: dict[str, str]) -> None:
    """Check that the SHA-256 of a part is that of the list.

    Raises
    ------
    FormatError
        If it is missing, no plain file of the folder, or another file.
    StorageError
        If the system refuses to read it.
    """
    digest = hashlib.sha256()
    with _open_plain(folder, part, PART_BYTES) as file:
        while piece := file.read(2**20):
            digest.update(piece)
    _compare(folder, part, parts, digest.hexdigest())


def read_part(folder: Path, part: str, parts: dict[str, str]) -> bytes:
    """Return the bytes of a part, opened once: those that are used are those that were hashed.

    Raises
    ------
    FormatError
        If it is not listed, missing, no plain file of the folder, or another file.
    StorageError
        If the system refuses to read it.
    """
    if part not in parts:
        raise FormatError(f"run {folder.name} has no {part}.", REFIT)
    with _open_plain(folder, part, PART_BYTES) as file:
        data = file.read()
    _compare(folder, part, parts, hashlib.sha256(data).hexdigest())
    return data


def _compare(folder: Path, part: str, parts: dict[str, str], digest: str) -> None:
    if digest != parts[part]:
        raise FormatError(f"{folder / part} is not what the run was saved with.", REFIT)


def read_head(folder: Path, parts: dict[str, str]) -> tuple[Path, bytes]:
    """Return the file of a run's head and its bytes; what is in it, `load_predictor` checks.

    Raises
    ------
    FormatError
        If it has none, or as for `read_part`.
    StorageError
        If the system refuses to read it.
    """
    name = head_file(parts)
    if name is None:
        raise FormatError(f"run {folder.name} has no head.", REFIT)
    return folder / name, read_part(folder, name, parts)


def check_outputs(path: Path, head: Any, C: int) -> None:
    """Check that a head turns one embedding into C probabilities.

    Raises
    ------
    FormatError
        If it has other classes than its run, or values that are not finite.
    """
    found = np.empty(0)
    if head.n_classes == C:
        with np.errstate(all="ignore"):
            found = head.predict_proba(np.ones((1, head.n_features), np.float32))
    if found.shape != (1, C) or not np.isfinite(found).all():
        raise FormatError(f"{path} does not give probabilities of the run's {C} classes.", REFIT)


def head_probabilities(folder: Path, head: Any, X: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, C) that a run's head gives embeddings X (N, D).

    Raises
    ------
    FormatError
        If it is a head for embeddings of another length.
    """
    try:
        return head.predict_proba(X)
    except ValueError as error:
        raise FormatError(
            f"the head of run {folder.name} does not take embeddings of {X.shape[1]} numbers.",
            REFIT,
        ) from error


@contextmanager
def open_part(folder: Path, part: str, parts: dict[str, str]) -> Iterator[tuple[Path, Any]]:
    """Open an HDF5 part that holds nothing but data sets of its own, none larger than the file.

    Yields
    ------
    tuple of Path and h5py.File

    Raises
    ------
    FormatError
        If it is missing, damaged, foreign or hostile, or what is read in the block is.
    StorageError
        If the system refuses to read it.
    """
    path, data = folder / part, read_part(folder, part, parts)
    try:
        with open_image(data) as file:
            for name in file:
                checked_dataset(path, file, str(name), len(data))
            yield path, file
    except FormatError as error:  # of the cache, whose remedy is another
        raise FormatError(error.cause, REFIT) from error
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, TlxError):
            raise
        if isinstance(error, OSError) and error.errno is not None:  # HDF5's own have no number
            raise storage_error(error, path, reading=True) from error
        raise FormatError(f"{path} is damaged or foreign: {_short(error)}.", REFIT) from error


@contextmanager
def _open_plain(folder: Path, part: str, limit: int) -> Iterator[BinaryIO]:
    """Open a part that is a regular file inside `folder` and no longer than `limit`."""
    path = folder / part
    try:
        if path.resolve().parent != folder.resolve():
            raise FormatError(f"{path} is a link to a place outside the run.", REFIT)
        if path.is_dir():  # which cannot be opened
            raise FormatError(f"{path} is no regular file.", REFIT)
        opened = open_binary(path)
    except (FileNotFoundError, NotADirectoryError, RuntimeError) as error:  # 3.10: loop of links
        raise FormatError(f"run {folder.name} lacks its part {part}.", REFIT) from error
    except OSError as error:
        if isinstance(error, TlxError):
            raise
        if error.errno == errno.ELOOP:
            raise FormatError(f"run {folder.name} lacks its part {part}.", REFIT) from error
        raise storage_error(error, path, reading=True) from error
    with opened as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f"{path} is no regular file.", REFIT)
        if status.st_size > limit:
            raise FormatError(
                f"{path} has {status.st_size:,} bytes, at most {limit:,} are allowed.", REFIT
            )
        try:
            yield file
        except OSError as error:
            if isinstance(error, TlxError):
                raise
            raise storage_error(error, path, reading=True) from error


def _check_info(folder: Path, info: dict[str, Any]) -> None:
    for key, (what, fits) in _REQUIRED.items():
        if key not in info:
            raise FormatError(f"run {folder.name} has no {key!r} in its run.json.", REFIT)
        if not fits(info[key]):
            raise _wrong(folder, key, info[key], what)
    for key, (what, fits) in _OPTIONAL.items():
        if key in info and not fits(info[key]):
            raise _wrong(folder, key, info[key], what)
    C = len(info["class_names"])
    confusion = info["confusion"]
    if len(confusion) != C or any(len(row) != C for row in confusion):
        raise _wrong(folder, "confusion", confusion, f"a matrix of {C} by {C} counts")
    if len(info.get("prior") or range(C)) != C:
        raise _wrong(folder, "prior", info["prior"], f"{C} shares")
    for part in info["parts"]:
        if not _PART.fullmatch(part):
            raise FormatError(f"run {folder.name} lists a part outside it: {part!r:.80}.", REFIT)


def _wrong(folder: Path, key: str, value: Any, what: str) -> FormatError:
    return FormatError(
        f"run {folder.name} has {key} {_shown(value)} in its run.json, not {what}.", REFIT
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 2**16


def _is_word(value: Any) -> bool:
    """Return whether `value` is a text that may go to the terminal as it is."""
    return _is_text(value) and 0 < len(value) <= 200 and value.isprintable()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value >= 0


def _are_classes(value: Any) -> bool:
    texts = isinstance(value, list) and all(_is_text(name) for name in value)
    return bool(texts and value and len(set(value)) == len(value))


def _are_metrics(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and {"accuracy", "log_loss"} <= value.keys()
        and all(_is_word(name) for name in value)
        and all(
            isinstance(m, dict) and m.keys() == {"value", "low", "high"} for m in value.values()
        )
        and all(_is_number(number) for m in value.values() for number in m.values())
    )


def _is_matrix(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and all(_is_count(n) for n in row) for row in value
    )


def _are_shares(value: Any) -> bool:
    return value is None or (
        isinstance(value, list)
        and all(_is_number(share) and 0 <= share <= 1 for share in value)
        and abs(sum(value) - 1) < 1e-6
    )


def _are_sources(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_source(source) for source in value)


def _is_source(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if not all(_is_text(value.get(key)) for key in ("fingerprint", "spec", "weights")):
        return False
    try:
        spec = FeatureSpec.from_json(value["spec"])
    except (FormatError, RecursionError):
        return False
    plain = FeatureSpec("", "", "", 1)
    typed = all(
        type(getattr(spec, field.name)) is type(getattr(plain, field.name))
        for field in dataclasses.fields(spec)
    )
    sized = typed and 1 <= spec.image_size <= MAX_IMAGE_SIZE and 0 <= spec.view < 2**31
    sized = sized and _is_number_of_views(value.get(MEAN, 0))
    return sized and spec.json == value["spec"] and spec.fingerprint == value["fingerprint"]


def _is_number_of_views(value: Any) -> bool:
    return _is_count(value) and value <= MAX_VIEWS


def _are_parts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_hash, value.values()))


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and bool(_HASH.fullmatch(value))


def _are_settings(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("options"), dict)
        and _is_count(value.get("folds"))
        and isinstance(value.get("grid"), dict | None)
    )


def _is_choice_of_features(value: Any) -> bool:
    found = value.get("candidates") if isinstance(value, dict) else None
    return (
        isinstance(found, list)
        and _is_count(value.get("fits"))
        and all(isinstance(each, dict) for each in found)
        and all(_is_phrase(each.get("features")) for each in found)
        and all(_is_number(each.get(k)) for each in found for k in ("gain", "standard_error"))
        and all(_is_count(each.get("chosen")) for each in found)
        and value.get("kept") in [each["features"] for each in found]
    )


def _are_near_duplicates(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and value.keys() == {"handling", "across"}
        and value["handling"] in HANDLING
        and _is_count(value["across"])
    )


def _is_phrase(value: Any) -> bool:
    return _is_text(value) and value.isprintable()


def _is_estimator(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    types, seen, D = value.get("types", 0), value.get("seen"), value.get("n_features", 0)
    return (
        (types is None or (isinstance(types, list) and all(map(_is_text, types))))
        and (isinstance(seen, list) and bool(seen) and all(map(_is_count, seen)))
        and (_is_count(D) and 0 < D < MAX_FEATURES)
    )


def _is_finetuning(value: Any) -> bool:
    verdict = value.get("verdict", {}) if isinstance(value, dict) else None
    return (
        isinstance(value, dict)
        and _is_word(value.get("seed_run"))
        and value.get("kept") in ("head", "finetuned")
        and isinstance(verdict, dict)
        and isinstance(verdict.get("better", True), bool)
    )


_Check = tuple[str, Callable[[Any], bool]]
_WORD: _Check = ("a short text", _is_word)
_TEXT: _Check = ("a text", _is_text)
_COUNT: _Check = ("a count", _is_count)
_SECONDS: _Check = ("a number of seconds", lambda v: _is_number(v) and v >= 0)
_OBJECT: _Check = ("an object", lambda v: isinstance(v, dict))

_REQUIRED: dict[str, _Check] = {
    "model": _WORD,
    "created": _WORD,
    "dataset": _WORD,
    "root": _TEXT,
    "protocol": _WORD,
    "sources": ("a list of specs with their fingerprints", _are_sources),
    "class_names": ("a list of different names", _are_classes),
    "n": _COUNT,
    "metrics": ("metrics, accuracy and log_loss among them, each with an interval", _are_metrics),
    "confusion": ("a matrix of counts", _is_matrix),
    "params": _OBJECT,
    "seconds": _SECONDS,
    "seed": ("a whole number", _is_integer),
    "parts": ("an object of file name to SHA-256", _are_parts),
}
_OPTIONAL: dict[str, _Check] = {
    "trained_on": _COUNT,
    "prior": ("shares of the classes, which sum to 1", _are_shares),
    "views": _COUNT,
    "tta": (f"a number of views up to {MAX_VIEWS}", _is_number_of_views),
    "temperature": ("a positive number", lambda v: _is_number(v) and v > 0),
    "scored_id": ("a SHA-256", _is_hash),
    "trained_id": ("a SHA-256", _is_hash),
    "predict_seconds": (
        "a number of seconds",
        lambda v: v is None or (_is_number(v) and v >= 0),
    ),
    "settings": ("an object of folds, grid and options", _are_settings),
    "features_chosen": ("what was chosen of which features", _is_choice_of_features),
    "near_duplicates": ("null, or a handling and a count", _are_near_duplicates),
    "environment": _OBJECT,
    "estimator": ("an object of types, seen and n_features", _is_estimator),
    "finetune": ("an object of a fine-tuning", _is_finetuning),
}


def _shown(value: Any) -> str:
    """Return the beginning of a value as JSON; control characters do not reach the terminal."""
    return json.dumps(value)[:60]


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
