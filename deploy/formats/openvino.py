"""OpenVINO IR: the fastest on Intel processors. Two files, ``.xml`` and ``.bin``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...embed.engines.openvino import only_output
from ...lazy_imports import import_converter, import_openvino, import_quantizer, import_tensorflow
from .convert import quietly, signature
from .format import OUTPUT, Classifier, Format, Order

if TYPE_CHECKING:
    import keras


def _write(network: keras.Model, path: Path, order: Order) -> None:
    convert_model, openvino = import_converter(), import_openvino()
    tf = import_tensorflow()

    @tf.function(input_signature=signature(network), jit_compile=False)
    def classify(image: Any) -> Any:
        return network(image, training=False)

    function = classify.get_concrete_function()
    with quietly():
        model = only_output(convert_model(function), function.outputs[0].name)
    if order.precision == "int8":
        model = _quantized(model, order.calibration)
    model.input(0).tensor.set_names({"image"})
    model.input(0).node.set_friendly_name("image")
    model.output(0).tensor.set_names({OUTPUT})
    for key, value in order.note.items():
        text = value if isinstance(value, str) else json.dumps(value)
        model.set_rt_info(text, ["tlx", key])
    openvino.save_model(model, path, compress_to_fp16=order.precision == "float16")


def _quantized(model: Any, calibration: np.ndarray | None) -> Any:
    """Return the model with 8-bit weights and activations, by NNCF's post-training quantisation."""
    assert calibration is not None
    nncf = import_quantizer()
    images = nncf.Dataset([calibration[i : i + 1] for i in range(len(calibration))])
    with quietly():
        return nncf.quantize(model, images, subset_size=len(calibration))


def _open(path: Path) -> Classifier:
    openvino = import_openvino()
    core = openvino.Core()
    # Without it float32 models are run in bfloat16 wherever the processor has it.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path), "CPU", exact)
    return lambda pixels: np.array(compiled(pixels)[0])


FORMAT: Final = Format(
    "openvino",
    "OpenVINO IR, for processors of Intel",
    "model.xml",
    _write,
    _open,
    runs_with=("openvino",),
    precisions=("float32", "float16", "int8"),
    int8_modules=("nncf",),
    predicts=True,
    order=30,
)
