"""Random weights that are the same every time, for networks asked for without trained ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import keras

RANDOM_SEED: Final = 0
RANDOM_WEIGHTS: Final = f"random:{RANDOM_SEED}"


def fill_random(model: keras.Model, seed: int = RANDOM_SEED) -> None:
    """Give every kernel of `model` LeCun-normal values that depend on `seed` alone.

    Vectors (biases, scales, moving averages) keep their constant starting values. Keras's own
    initialisers are not used: they draw from global state, and features must be reproducible. Nor
    are He-normal values, of twice the variance: in them EfficientNetV2 is chaotic, and rounding
    alone moves its features by 3e-4.
    """
    generator = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        for weight in layer._trainable_variables:
            shape = tuple(weight.shape)
            if len(shape) >= 2:
                depthwise = "Depthwise" in type(layer).__name__
                fan_in = math.prod(shape[:2] if depthwise else shape[:-1])
                values = generator.standard_normal(shape, dtype=np.float32)
                weight.assign(values / math.sqrt(fan_in))
