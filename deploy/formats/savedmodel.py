"""SavedModel: a folder for TensorFlow and TensorFlow Serving."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...lazy_imports import import_keras, import_tensorflow
from .convert import quietly, signature
from .format import OUTPUT, Classifier, Format, Order

if TYPE_CHECKING:
    import keras

_NOTE: Final = "assets.extra/tlx.json"  # a folder that TensorFlow keeps for what it does not read


def write_saved_model(network: keras.Model, path: Path, order: Order) -> None:
    """Write a network with one signature, ``image`` to ``probabilities``."""
    archive = import_keras().export.ExportArchive()
    archive.track(network)

    def serve(image: Any) -> dict[str, Any]:
        return {OUTPUT: network(image, training=False)}

    with quietly():
        archive.add_endpoint("serve", serve, input_signature=signature(network))
        archive.write_out(str(path), verbose=False)
    note = path / _NOTE
    note.parent.mkdir(exist_ok=True)
    note.write_text(json.dumps(order.note, indent=1), encoding="utf-8")


def _open(path: Path) -> Classifier:
    tf = import_tensorflow()
    loaded = tf.saved_model.load(str(path))

    def classify(pixels: np.ndarray) -> np.ndarray:
        # Through `loaded`, which must live as long: with it go the variables.
        return loaded.signatures["serving_default"](image=tf.constant(pixels))[OUTPUT].numpy()

    return classify


FORMAT: Final = Format(
    "savedmodel",
    "TensorFlow's SavedModel, for TensorFlow Serving",
    "saved_model",
    write_saved_model,
    _open,
    order=10,
)
