"""Keras: a whole model, for whoever goes on in Python."""

from __future__ import annotations

import json
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...lazy_imports import import_keras
from .format import Classifier, Format, Order

if TYPE_CHECKING:
    import keras

# Keras's own note in the archive; it ignores what it does not know.
_METADATA: Final = "metadata.json"
_KEY: Final = "tlx"


def model_bytes(model: keras.Model, note: dict[str, Any]) -> bytes:
    """Return a ``.keras`` file with `note` in its ``metadata.json``, under the key ``"tlx"``.

    Parameters
    ----------
    model : keras.Model
    note : dict
        At least ``class_names``, in the order of the probabilities.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        with warnings.catch_warnings():  # Keras converts its variables as NumPy 1 did
            warnings.simplefilter("ignore", DeprecationWarning)
            model.save(path)
        target = Path(folder, "annotated.keras")
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as out:
            for item in source.infolist():
                data = source.read(item)
                if item.filename == _METADATA:
                    data = json.dumps({**json.loads(data), _KEY: note}).encode()
                out.writestr(item, data)
        return target.read_bytes()


def _write(network: keras.Model, path: Path, order: Order) -> None:
    path.write_bytes(model_bytes(network, order.note))


def _open(path: Path) -> Classifier:
    """Load the model in Keras's safe mode, which runs no code out of a file."""
    model = import_keras().models.load_model(path, compile=False, safe_mode=True)
    return lambda pixels: np.asarray(model(pixels, training=False))


FORMAT: Final = Format(
    "keras", "a whole Keras model, for Python", "model.keras", _write, _open, order=0
)
