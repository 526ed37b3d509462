"""Weights of rare and common classes."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.heads.weighting import class_weights
from tlx.errors import FitError


def test_balanced_weights_give_each_class_the_same():
    y = np.array([0, 0, 0, 1, 2, 2])
    w = class_weights(y, "balanced")
    np.testing.assert_allclose(np.bincount(y, w), 2)
    with pytest.raises(FitError, match="unknown class weight: 'even'"):
        class_weights(y, "even")


def test_balanced_weights_do_not_count_what_is_held_out():
    y = np.array([0, 0, 0, 1, 2, 2])
    taken = np.array([True, False, False, True, False, False])
    np.testing.assert_allclose(class_weights(y, "balanced", taken)[[0, 3]], 1)
