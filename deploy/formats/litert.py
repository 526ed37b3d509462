"""LiteRT, which was TensorFlow Lite: for phones and small devices."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ...lazy_imports import import_tensorflow
from ..network import on_float_pixels
from .convert import quietly
from .format import OUTPUT, Classifier, Format, Order
from .savedmodel import write_saved_model

if TYPE_CHECKING:
    import keras


def _write(network: keras.Model, path: Path, order: Order) -> None:
    tf = import_tensorflow()
    with tempfile.TemporaryDirectory() as folder, quietly():
        saved = Path(folder, "saved_model")
        int8 = order.precision == "int8"
        write_saved_model(on_float_pixels(network) if int8 else network, saved, order)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
        if order.precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if order.precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        elif int8:
            # Integers throughout. A pixel of 0 to 255 is its own quantised value, as the images of
            # the calibration have both ends.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.representative_dataset = _batches(order.calibration)
        path.write_bytes(converter.convert())
    # As the format's own metadata has it: files in an archive behind the network, which does not
    # mind. Libraries for phones look there for the names.
    with zipfile.ZipFile(path, "a") as archive:
        names = (" ".join(name.splitlines()) for name in order.note["class_names"])  # a line each
        archive.writestr("labels.txt", "\n".join(names))
        archive.writestr("tlx.json", json.dumps(order.note, indent=1))


def _batches(calibration: np.ndarray | None) -> Callable[[], Iterator[list[np.ndarray]]]:
    """Return what gives a converter one image after the other."""
    assert calibration is not None
    return lambda: ([pixels[None].astype(np.float32)] for pixels in calibration)


def _open(path: Path) -> Classifier:
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    (signature,) = interpreter.get_signature_list().values()
    runner = interpreter.get_signature_runner()
    (name,) = signature["inputs"]

    def classify(pixels: np.ndarray) -> np.ndarray:
        return np.array(runner(**{name: pixels})[OUTPUT])

    return classify


FORMAT: Final = Format(
    "litert",
    "LiteRT (.tflite), for phones and small devices",
    "model.tflite",
    _write,
    _open,
    runs_with=("ai_edge_litert",),
    precisions=("float32", "float16", "int8"),
    predicts=True,
    order=40,
)
