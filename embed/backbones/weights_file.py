"""Weights and model files: their digest, and one kind of error for all that is wrong with them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TlxError, WeightsError

if TYPE_CHECKING:
    import keras


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


def given_file(weights: str) -> Path | None:
    """Return the weights file a user named, or None for random weights.

    Examples
    --------
    >>> given_file("none") is None
    True
    """
    return None if weights == "none" else Path(weights).expanduser()


def fill_from(path: Path, model: keras.Model) -> keras.Model:
    """Load a file of weights into a model, and return the model.

    Raises
    ------
    WeightsError
        If the file does not fit.
    """
    with loading(path):
        model.load_weights(path)
    return model


def refuse_code(path: Path, config: Any) -> None:
    """Raise if a model's config holds Python code: a ``Lambda`` layer or function.

    Raises
    ------
    WeightsError
        If it does.
    """
    pending = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if part.get("class_name") in ("Lambda", "__lambda__"):
                raise WeightsError(
                    f"{path} has a Lambda layer, which is Python code of whoever saved it.",
                    "Save the model again with a built-in layer in its place.",
                )
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def own_weights(name: str, weights: str) -> WeightsError:
    """Return the error for weights given to a model that has its own."""
    return WeightsError(
        f"{name} has its own weights and takes no --weights {weights}.", "Leave --weights out."
    )
