"""Read the head of a run from its files, and nothing but a head."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ...errors import FormatError
from .arrays import HEAD_FILE, read_arrays
from .old_neighbors import OLD_FILE, read_old_neighbors
from .registry import heads


def head_file(parts: Collection[str]) -> str | None:
    """Return which of a run's files its head is read from; None if there is none."""
    return next((name for name in (HEAD_FILE, OLD_FILE) if name in parts), None)


def load_predictor(folder: Path, parts: Mapping[str, bytes]) -> Any:
    """Read the head of a run.

    Parameters
    ----------
    folder : Path
        For messages; nothing in it is opened.
    parts : mapping of str to bytes
        Files of the run, its head among them.

    Returns
    -------
    Predictor

    Raises
    ------
    FormatError
        If there is no head, or it is damaged, foreign or hostile.
    """
    name = head_file(parts)
    if name is None:
        raise FormatError(f"{folder} has no head.", "Fit it again.")
    path = folder / name
    try:
        if name == OLD_FILE:
            return read_old_neighbors(path, parts[name])
        kind, arrays = read_arrays(path, parts[name])
        known = {each.kind: each for head in heads().values() for each in head.predictors}
        if kind not in known:
            raise ValueError(f"tlx knows none of the kind {kind[:40]!r}")
        return known[kind].from_arrays(arrays)
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
        cause = error.cause if isinstance(error, FormatError) else f"{path} is no head: {error}."
        raise FormatError(" ".join(cause.split())[:400], "Fit it again.") from error
