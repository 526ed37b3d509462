"""One file that needs no tlx: uint8 pixels in, preprocessing inside, probabilities out."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..lazy_imports import import_keras
from .seed import SeededNetwork, free_name

if TYPE_CHECKING:
    import keras

MODEL_FILE: Final = "model.keras"
_METADATA: Final = (
    "metadata.json"  # Keras's own note in the archive; it ignores what it does not know
)
_KEY: Final = "tlx"


def whole_model(network: SeededNetwork) -> keras.Model:
    """Return the network as one flat model of Keras's own layers.

    Returns
    -------
    keras.Model
        uint8 pixels (B, S, S, 3) to probabilities (B, C) float32. It shares its layers with
        `network`.
    """
    keras = import_keras()
    taken = {layer.name for layer in [*network.features.layers, *network.classifier]}
    shape = network.features.input_shape[1:]
    pixels = keras.Input(shape, dtype="uint8", name=free_name("image", taken))
    # Casts: a Lambda would have to be trusted by whoever opens the file.
    tensor = keras.layers.Rescaling(1.0, name=free_name("to_float", taken))(pixels)
    # `call` and not the model itself: the layers then stand in this graph one by one, so that any
    # of them can be tapped, and a later fine-tuning can cut between them.
    tensor = network.features.call(tensor)
    for layer in network.classifier:
        tensor = layer(tensor)
    probabilities = keras.layers.Softmax(name=free_name("probabilities", taken))(tensor)
    return keras.Model(pixels, probabilities, name="finetuned")


def model_bytes(model: keras.Model, note: dict[str, Any]) -> bytes:
    """Return a ``.keras`` file with `note` in its ``metadata.json``, under the key ``"tlx"``.

    Parameters
    ----------
    model : keras.Model
    note : dict
        At least ``class_names``, in the order of the probabilities.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, MODEL_FILE)
        model.save(path)
        target = Path(folder, "annotated.keras")
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as out:
            for item in source.infolist():
                data = source.read(item)
                if item.filename == _METADATA:
                    data = json.dumps({**json.loads(data), _KEY: note}).encode()
                out.writestr(item, data)
        return target.read_bytes()


def embedding_layer(network: SeededNetwork) -> str:
    """Return the name of the layer whose output is the embedding."""
    return network.features.outputs[0]._keras_history.operation.name
