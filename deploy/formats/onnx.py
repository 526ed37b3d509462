"""ONNX: for onnxruntime, and for most else that runs networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from .convert import quietly, signature
from .format import OUTPUT, Classifier, Format, Order

if TYPE_CHECKING:
    import keras

# The first that has all that tf2onnx makes of these networks; onnxruntime 1.14 and later read it.
_OPSET: Final = 17


def _write(network: keras.Model, path: Path, order: Order) -> None:
    import onnx

    with quietly():
        network.export(
            str(path),
            format="onnx",
            verbose=False,
            input_signature=signature(network),
            opset_version=_OPSET,
        )
    model = onnx.load(str(path))  # pyright: ignore[reportAttributeAccessIssue]
    _name_output(model.graph)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    for key, value in order.note.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.save(model, str(path))  # pyright: ignore[reportAttributeAccessIssue]


def _name_output(graph: object) -> None:
    """Call the one output ``probabilities``: tf2onnx calls it by TensorFlow's last operation."""
    (output,) = graph.output  # type: ignore[attr-defined]
    for node in graph.node:  # type: ignore[attr-defined]
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == output.name:
                    names[place] = OUTPUT
    output.name = OUTPUT


def _open(path: Path) -> Classifier:
    import onnxruntime  # pyright: ignore[reportMissingImports]

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda pixels: np.asarray(session.run(None, {name: pixels})[0])


FORMAT: Final = Format(
    "onnx",
    "ONNX, for onnxruntime",
    "model.onnx",
    _write,
    _open,
    modules=("tf2onnx", "onnx"),
    runs_with=("onnxruntime",),
    predicts=True,
    order=20,
)
