"""A classifier of scikit-learn's kind as a file, without pickle: ``head.skops``, written by skops.

Such a file names the types that it is made of, and reading it constructs them: it runs their code.
So each of them that skops does not trust by itself, and the type of the classifier in any case, is
confirmed by the user, once when it is written and again whenever it is read, as the run may come
from elsewhere. The names in ``run.json`` are for people; what counts is what is in the file.
"""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ArgumentError, FormatError, MissingExtraError
from .external import EstimatorPredictor

ESTIMATOR_FILE = "head.skops"
_REFIT = "The run cannot be trusted: fit it again."


@dataclass(frozen=True)
class SavedEstimator:
    """What ``run.json`` says of a classifier that is no head of tlx.

    Attributes
    ----------
    types : tuple of str, or None
        To be confirmed before it is saved or read. Empty if it cannot be saved without pickle; None
        if skops was not there to tell.
    seen : tuple of int
        The classes that it has learned, in the order of its own.
    n_features : int
    """

    types: tuple[str, ...] | None
    seen: tuple[int, ...]
    n_features: int

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> SavedEstimator:
        """Return what a checked ``run.json`` says."""
        types = found["types"]
        return cls(
            None if types is None else tuple(types), tuple(found["seen"]), found["n_features"]
        )


def import_skops() -> Any:
    """Return ``skops.io``.

    Raises
    ------
    MissingExtraError
    """
    try:
        import skops.io  # type: ignore[import-not-found]
    except ImportError as error:
        raise MissingExtraError.of("skops", "skops") from error
    return skops.io


def confirmed(trusted: Iterable[str] | None) -> tuple[str, ...]:
    """Return the names of types that the user confirmed.

    Raises
    ------
    ArgumentError
        If they are none: ``True`` is not, as no one can confirm what is not named.

    Examples
    --------
    >>> confirmed(["sklearn.svm._classes.SVC"]), confirmed("a.B"), confirmed(None)
    (('sklearn.svm._classes.SVC',), ('a.B',), ())
    """
    if trusted is None or isinstance(trusted, str):
        return () if trusted is None else (trusted,)
    names = tuple(trusted) if isinstance(trusted, Iterable) else (trusted,)
    if all(isinstance(name, str) for name in names):
        return names
    raise ArgumentError(
        f"trusted={trusted!r:.80} names no types.",
        "Name each of them: trusted=['sklearn.svm._classes.SVC'], say.",
    )


def keep_estimator(
    predictor: EstimatorPredictor, trusted: Sequence[str]
) -> tuple[SavedEstimator, dict[str, bytes]]:
    """Return what a run says of a classifier, and its file if all its types were confirmed."""
    types, parts = None, {}
    try:
        skops = import_skops()
        data = skops.dumps(predictor.estimator)
        types = tuple(_types_in(Path(ESTIMATOR_FILE), data))
        if types and set(types) <= set(trusted):
            skops.loads(data, trusted=list(types))  # what cannot be read is not worth keeping
            parts = {ESTIMATOR_FILE: data}
    except MissingExtraError:
        pass
    except Exception:  # objects of anybody's: whatever they raise, they cannot be saved
        types, parts = (), {}
    return SavedEstimator(types, tuple(map(int, predictor.seen)), predictor.n_features), parts


def how_to_save(saved: SavedEstimator | None) -> str:
    """Return what to type so that a classifier is saved, of which only predictions were kept."""
    ours = "To predict with a head that is always saved: tlx fit-head --model logreg"
    if saved is None or saved.types is None:
        return f"To save it: pip install 'tlx-vision[skops]', and fit it again. {ours}"
    if not saved.types:
        return f"It cannot be saved without pickle. {ours}"
    return (
        "To save it, confirm the types that it is made of: "
        f"tlx.fit_head(…, trusted={list(saved.types)})"
    )


def read_estimator(
    run_id: str,
    path: Path,
    data: bytes,
    saved: SavedEstimator,
    C: int,
    trusted: Sequence[str],
) -> EstimatorPredictor:
    """Read a classifier from a ``head.skops`` whose types were all confirmed.

    Parameters
    ----------
    run_id : str
        For messages.
    path : Path
        For messages.
    data : bytes
        What is in it.
    saved : SavedEstimator
    C : int
        Classes of the run.
    trusted : sequence of str
        Types that the user confirmed. Nothing is constructed if there is another one in the file.

    Raises
    ------
    MissingExtraError
        If skops is not installed.
    FormatError
        If a type was not confirmed, or the file is damaged, foreign or hostile.
    """
    skops = import_skops()
    try:
        types = _types_in(path, data)
    except FormatError:
        raise
    except Exception as error:  # a hostile file makes skops raise anything
        raise FormatError(f"{path} is no head: {_short(error)}.", _REFIT) from error
    unknown = [name for name in types if name not in trusted]
    if unknown:
        options = " ".join(f"--trust {shlex.quote(name)}" for name in types)
        raise FormatError(
            f"run {run_id} holds a classifier of types that were not confirmed: "
            f"{', '.join(map(_printable, unknown))}.",
            "Reading it runs their code. If you trust them and whom you have the run from: "
            f"tlx.load_run({run_id!r}, trusted={types}), or {_printable(options)}",
        )
    D = saved.n_features
    try:
        estimator = skops.loads(data, trusted=types)  # the very bytes that were looked through
        classes = sorted({c for c in saved.seen if c < C})
        if getattr(estimator, "n_features_in_", D) != D or list(saved.seen) != classes:
            raise ValueError(f"it does not fit to {D:,} features and {C} classes")
        predictor = EstimatorPredictor(estimator, np.array(saved.seen), D, C)
        predictor.predict_proba(np.ones((1, D), np.float32))
    except Exception as error:  # see above
        raise FormatError(f"{path} is no head: {_short(error)}.", _REFIT) from error
    return predictor


def check_stored(path: Path, archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive whose members claim more bytes than it has: none of ours is compressed.

    Raises
    ------
    FormatError
    """
    claimed = sum(max(0, member.file_size) for member in archive.infolist())
    if claimed > size:
        raise FormatError(
            f"{path} claims {claimed:,} bytes in a file of {size:,}.", "Fit it again."
        )


def _types_in(path: Path, data: bytes) -> list[str]:
    """Return the types to be confirmed, in order; nothing is constructed or imported for it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        check_stored(path, archive, len(data))
        schema = json.loads(archive.read("schema.json"))
    own = f"{schema['__module__']}.{schema['__class__']}"
    return sorted({own, *import_skops().get_untrusted_types(data=data)})


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _short(error: Exception) -> str:
    return _printable(" ".join(str(error).split()))[:200].rstrip(".") or type(error).__name__
