"""Weights and model files: their digest, and one kind of error for all that is wrong with them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from ...errors import TlxError, WeightsError


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits.

    Raises
    ------
    WeightsError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise WeightsError(
            f"cannot read the weights file {path}: {error.strerror}.",
            "Give the path of a weights file, or --weights imagenet, or --weights none.",
        ) from error
    return digest.hexdigest()


@contextlib.contextmanager
def loading(path: Path) -> Iterator[None]:
    """Turn whatever Keras and h5py raise of a weights or model file into a `WeightsError`."""
    try:
        yield
    except TlxError:
        raise
    except Exception as error:  # h5py, zipfile and Keras raise all kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path} cannot be loaded: {reason[:300]}",
            "It must be a whole file that Keras saved, of the very network that is asked for.",
        ) from error
