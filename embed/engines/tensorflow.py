"""TensorFlow: the reference engine, which takes every network."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...cache.spec import FeatureSpec
from ...lazy_imports import import_keras, import_tensorflow
from ..backbones.family import Backbone
from ..backbones.tap import feature_model
from ..threads import limited_threads
from .engine import EngineKind, check_batch

if TYPE_CHECKING:
    import keras


class TensorFlowEngine:
    """The reference: one traced graph with its weights frozen into it, XLA off.

    XLA is about 20 times slower on depthwise convolutions on a CPU.
    """

    name = "tensorflow"

    def __init__(self, backbone: Backbone, spec: FeatureSpec) -> None:
        tf = import_tensorflow()
        threads = limited_threads()
        if threads:
            with contextlib.suppress(RuntimeError):  # it runs already, for another network
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(1)
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        model = feature_model(backbone, spec)
        if spec.precision == "bfloat16":
            _lower_precision(model)
        self.output_shape = tuple(model.output_shape[1:])
        self.note = ""
        self._image_size = spec.image_size
        self._tensor = tf.constant
        self._function = convert_variables_to_constants_v2(trace(model))

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Map pixels (B, S, S, 3) uint8 to features float32 of (B,) + output_shape."""
        check_batch(batch, self._image_size)
        if len(batch) == 0:  # which TensorFlow's depthwise convolutions refuse
            return np.empty((0, *self.output_shape), np.float32)
        (features,) = self._function(self._tensor(batch))
        return features.numpy()


def trace(model: keras.Model) -> Any:
    """Return `model` as a concrete TensorFlow function, uint8 pixels to float32 features."""
    tf = import_tensorflow()
    pixels = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="pixels")

    @tf.function(input_signature=[pixels], jit_compile=False)
    def features(pixels: Any) -> Any:
        return tf.cast(model(tf.cast(pixels, tf.float32), training=False), tf.float32)

    return features.get_concrete_function()


def _lower_precision(model: keras.Model) -> None:
    """Let `model` compute in bfloat16, save what scales pixels or averages over positions.

    Weights stay float32 and are rounded as they are used.
    """
    keras = import_keras()
    exact = ("Rescaling", "Normalization", "GlobalAveragePooling")
    policy = keras.DTypePolicy("mixed_bfloat16")
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if not type(layer).__name__.startswith(exact):
            layer.dtype_policy = policy


KIND: Final = EngineKind("tensorflow", order=100, load=TensorFlowEngine)
