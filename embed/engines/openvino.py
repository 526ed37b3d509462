"""OpenVINO: the fast engine on a CPU. A network is converted once, checked, and kept."""

from __future__ import annotations

import hashlib
import importlib.metadata
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...cache.identity import canonical_json
from ...cache.spec import FeatureSpec
from ...errors import StorageError, TlxError
from ...lazy_imports import import_converter, import_openvino, import_tensorflow
from ..backbones.family import Backbone
from ..backbones.tap import feature_model
from ..converted import Converted, load_converted, save_converted
from ..threads import limited_threads
from .engine import EngineError, EngineKind, check_batch
from .tensorflow import trace

# Raised whenever the conversion changes what a stored model computes.
_CONVERSION_REVISION: Final = 1
# Images a request. Two for bfloat16 fill the matrix units better; for float32 one is as fast.
_IMAGES_PER_REQUEST: Final = {"float32": 1, "bfloat16": 2}
# Largest difference from TensorFlow, relative to the largest feature, of a good conversion.
TOLERANCE: Final = 1e-3


class OpenVINOEngine:
    """The fast one on a CPU. It needs TensorFlow only the first time a backbone is used.

    Every request takes the same small number of images, and requests run side by side. So an
    image's features are the same bits whatever batch it is in; measured on two cores this is also
    faster than batches of 8 to 32 of a free size.
    """

    name = "openvino"

    def __init__(self, backbone: Backbone, spec: FeatureSpec) -> None:
        try:
            openvino = import_openvino()
        except ImportError as error:
            raise EngineError(
                f"openvino cannot be imported: {error}.", "Run: pip install openvino"
            ) from error
        core = openvino.Core()
        require_precision(core, spec.precision)
        model, self.note = _converted_model(core, backbone, spec)
        self._image_size = spec.image_size
        self._count = _IMAGES_PER_REQUEST[spec.precision]
        model.reshape([self._count, spec.image_size, spec.image_size, 3])
        self.output_shape = tuple(model.output(0).shape)[1:]
        compiled = core.compile_model(model, "CPU", _settings(spec.precision))
        self._queue = openvino.AsyncInferQueue(compiled)
        self._queue.set_callback(_store)
        self._lock = threading.Lock()  # one batch at a time: the queue is shared

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Map pixels (B, S, S, 3) uint8 to features float32 of (B,) + output_shape."""
        check_batch(batch, self._image_size)
        features = np.empty((len(batch), *self.output_shape), np.float32)
        with self._lock:
            for start in range(0, len(batch), self._count):
                pixels = batch[start : start + self._count]
                target = features[start : start + self._count]
                self._queue.start_async({0: _filled(pixels, self._count)}, target)
            self._queue.wait_all()
        return features


def _settings(precision: str) -> dict[str, Any]:
    threads = limited_threads()
    # Pinned threads of several processes would all be on the first processors.
    limits = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
    return {
        "PERFORMANCE_HINT": "THROUGHPUT",
        # Without it float32 models are run in bfloat16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        **(limits if threads else {}),
    }


def _store(request: Any, target: np.ndarray) -> None:
    """Copy a finished request's features into their place."""
    target[:] = request.get_output_tensor(0).data[: len(target)]


def _filled(pixels: np.ndarray, count: int) -> np.ndarray:
    """Repeat the last image until there are `count`."""
    missing = count - len(pixels)
    return np.concatenate([pixels, *[pixels[-1:]] * missing]) if missing else pixels


def require_precision(core: Any, precision: str) -> None:
    """Raise a `TlxError` if the processor that OpenVINO's `core` sees cannot compute so."""
    if precision == "bfloat16" and "BF16" not in core.get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        raise TlxError(
            "this processor does not compute in bfloat16.",
            "Use --precision float32; or --engine tensorflow, which imitates bfloat16 slowly.",
        )


def _converted_model(core: Any, backbone: Backbone, spec: FeatureSpec) -> tuple[Any, str]:
    """Return the OpenVINO model, from the user's cache if it is there, and a note."""
    key = conversion_key(spec)
    stored = load_converted(key)
    if stored:
        return core.read_model(stored.xml, stored.weights), ""
    model = _convert(core, backbone, spec)
    try:
        save_converted(key, _serialize(model))
    except (StorageError, OSError) as error:
        return model, f"The converted model is not kept: {error}"
    return model, ""


def is_converted(spec: FeatureSpec) -> bool:
    """Tell whether the network of a spec can be loaded without TensorFlow."""
    return load_converted(conversion_key(spec)) is not None


def conversion_key(spec: FeatureSpec) -> str:
    """Return the name under which a converted model is kept, 64 hexadecimal digits.

    It covers the graph, that is the spec without what concerns decoding and storage, and the
    versions of what made it. Precision is no part: one converted model serves both.
    """
    graph = ("backbone", "weights", "preprocessing", "layer", "pooling", "image_size")
    makers = ("openvino", "keras", "tensorflow")
    facts: dict[str, Any] = {name: getattr(spec, name) for name in graph}
    facts |= {name: importlib.metadata.version(name) for name in makers}
    facts["revision"] = _CONVERSION_REVISION
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()


def _convert(core: Any, backbone: Backbone, spec: FeatureSpec) -> Any:
    """Trace the network and convert it in memory; check it against TensorFlow.

    Raises
    ------
    EngineError
        If OpenVINO cannot take the network, or computes something else.
    """
    convert_model = import_converter()
    model = feature_model(backbone, spec)
    function = trace(model)
    try:
        converted = only_output(convert_model(function), function.outputs[0].name)
        size = spec.image_size
        pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
        compiled = core.compile_model(converted, "CPU", _settings("float32"))
        ours = compiled(pixels)[0]
    except Exception as error:  # whatever a converter of foreign graphs may raise
        raise EngineError(
            f"OpenVINO cannot convert {backbone.name}: {str(error).splitlines()[0][:200]}",
            "Use --engine tensorflow.",
        ) from error
    reference = function(import_tensorflow().constant(pixels)).numpy()
    difference = _relative_difference(ours, reference)
    if not difference <= TOLERANCE:
        raise EngineError(
            f"OpenVINO's {backbone.name} differs from TensorFlow's by {difference:.1e} relative.",
            "Use --engine tensorflow.",
        )
    return converted


def only_output(model: Any, name: str) -> Any:
    """Return an OpenVINO model with every output dropped but the one called `name`.

    The converter adds one for each swish, whose gradient TensorFlow keeps beside its value; with
    them no swish is fused, and each is written out as a map.
    """
    kept = model.output(name).node
    for result in model.get_results():
        if result != kept:
            model.remove_result(result)
    return model


def _relative_difference(values: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest difference over the largest reference value."""
    scale = float(np.abs(reference).max()) or 1.0
    return float(np.abs(values - reference).max()) / scale


def _serialize(model: Any) -> Converted:
    """Return an OpenVINO model as bytes, its weights in full precision."""
    openvino = import_openvino()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(model, path, compress_to_fp16=False)
        return Converted(path.read_bytes(), path.with_suffix(".bin").read_bytes())


KIND: Final = EngineKind("openvino", order=0, load=OpenVINOEngine)
