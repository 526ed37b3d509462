"""What the tests of engines share: networks, specs, pixels, and Keras layer by layer."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from tlx.cache.spec import FeatureSpec
from tlx.embed.backbones.family import Backbone
from tlx.embed.backbones.tap import feature_model

SIZE = 64


def spec_of(backbone: Backbone, **fields) -> FeatureSpec:
    names = {"image_size": SIZE, **fields}
    return FeatureSpec(backbone.name, backbone.weights_digest, backbone.preprocessing, **names)


def pixels(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)


def eager(backbone: Backbone, spec: FeatureSpec, batch: np.ndarray) -> np.ndarray:
    """The features by Keras, layer by layer, past all tracing and conversion."""
    return np.asarray(feature_model(backbone, spec)(batch.astype(np.float32), training=False))


def relative(values: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(values - reference).max() / np.abs(reference).max())


def cosines(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (values, reference))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def shallow(backbone: Backbone) -> FeatureSpec:
    """The first blocks only, which convert quickly."""
    return spec_of(backbone, layer="block2_add")


def run(code: str) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
