"""Engines run a backbone: a uint8 batch in, float32 features out, preprocessing in the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from ..errors import UnknownNameError
from .backbones import Backbone, feature_model
from .quiet import import_keras, import_tensorflow
from .spec import FeatureSpec

if TYPE_CHECKING:
    import keras

ENGINES: Final = ("auto", "tensorflow")


class Engine(Protocol):
    """What every engine offers.

    Attributes
    ----------
    name : str
        ``"tensorflow"`` or ``"openvino"``.
    output_shape : tuple of int
        Shape of one image's features.
    """

    name: str
    output_shape: tuple[int, ...]

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Map pixels (B, S, S, 3) uint8 to features float32 of (B,) + output_shape."""
        ...


def load_engine(backbone: Backbone, spec: FeatureSpec, engine: str = "auto") -> Engine:
    """Load the engine that computes the features of `spec`.

    Parameters
    ----------
    backbone : Backbone
        The network that `spec` names.
    spec : FeatureSpec
        Its ``image_size``, ``layer``, ``pooling`` and ``precision`` are used.
    engine : {"auto", "tensorflow"}, default="auto"
        Which engine.

    Returns
    -------
    Engine

    Raises
    ------
    UnknownNameError
        If there is no such engine, or no such layer.
    """
    if engine not in ENGINES:
        raise UnknownNameError.nearest("engine", engine, ENGINES)
    return TensorFlowEngine(backbone, spec)


class TensorFlowEngine:
    """The reference: one traced graph with its weights frozen into it, XLA off.

    XLA is about 20 times slower on depthwise convolutions on a CPU.
    """

    name = "tensorflow"

    def __init__(self, backbone: Backbone, spec: FeatureSpec) -> None:
        tf = import_tensorflow()
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        model = feature_model(backbone, spec)
        if spec.precision == "bfloat16":
            lower_precision(model)
        self.output_shape = tuple(model.output_shape[1:])
        self._image_size = spec.image_size
        self._tensor = tf.constant
        self._function = convert_variables_to_constants_v2(trace(model))

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Map pixels (B, S, S, 3) uint8 to features float32 of (B,) + output_shape."""
        check_batch(batch, self._image_size)
        (features,) = self._function(self._tensor(batch))
        return features.numpy()


def trace(model: keras.Model) -> Any:
    """Return `model` as a concrete TensorFlow function from uint8 pixels to float32 features."""
    tf = import_tensorflow()
    pixels = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8, name="pixels")

    @tf.function(input_signature=[pixels], jit_compile=False)
    def features(pixels: Any) -> Any:
        return tf.cast(model(tf.cast(pixels, tf.float32), training=False), tf.float32)

    return features.get_concrete_function()


def lower_precision(model: keras.Model) -> None:
    """Let `model` compute in bfloat16, save what scales pixels or averages over positions.

    Weights stay float32 and are rounded as they are used.
    """
    keras = import_keras()
    exact = ("Rescaling", "Normalization", "GlobalAveragePooling")
    policy = keras.DTypePolicy("mixed_bfloat16")
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if not type(layer).__name__.startswith(exact):
            layer.dtype_policy = policy


def check_batch(batch: np.ndarray, image_size: int) -> None:
    """Raise unless `batch` is what the decoder makes.

    Raises
    ------
    ValueError
        If it is not uint8 of shape (B, image_size, image_size, 3).
    """
    wanted = (image_size, image_size, 3)
    if batch.dtype != np.uint8 or batch.shape[1:] != wanted:
        raise ValueError(
            f"a batch must be uint8 (B, {image_size}, {image_size}, 3). "
            f"Got {batch.dtype} {batch.shape}."
        )
