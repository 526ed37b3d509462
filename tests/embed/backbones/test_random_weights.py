"""Random weights: the same every time, whatever else is random."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.embed.backbones.random_weights import fill_random
from tlx.embed.backbones.registry import get_backbone

# Keras 3.15 reads TensorFlow's variables in a way that NumPy 2.4 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_random_weights_are_the_same_every_time():
    lite0 = get_backbone("efficientnet-lite0", "none")
    first, second = lite0.build(32).get_weights(), lite0.build(32).get_weights()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_random_weights_leave_global_randomness_alone():
    import keras

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    fill_random(model)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
