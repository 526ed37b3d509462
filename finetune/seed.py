"""A head's weights become the last layer of its own backbone, so that training starts from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..classify.heads.registry import heads
from ..deploy.network import dense_layers, free_name
from ..errors import FitError
from ..lazy_imports import import_keras
from .cut import Cut, split

if TYPE_CHECKING:
    import keras

SEEDS = tuple(head.name for head in heads().values() if head.seeds)  # heads made of layers
PARITY_IMAGES = 64
# By how much logits may differ, relative to the largest logit (or 1): storing activations in
# float16 rounds each by 5e-4 of itself, which averages out over the thousands behind a logit.
TOLERANCE = {"float16": 1e-3, "float32": 1e-4}
_BFLOAT16_TOLERANCE = 0.1  # the trunk then computes in bfloat16, the top in float32


@dataclass
class SeededNetwork:
    """A backbone with a head on it.

    Attributes
    ----------
    features : keras.Model
        Pixels (B, S, S, 3) to embeddings (B, D).
    top : keras.Model
        Boundary activations to logits (B, C). It shares its layers with `features`.
    classifier : list of keras.layers.Layer
        The layers from embedding to logits.
    """

    features: keras.Model
    top: keras.Model
    classifier: list[Any]

    def scale_logits(self, factor: float) -> None:
        """Multiply all logits by `factor`: calibration by a temperature of 1 / `factor`."""
        last = self.classifier[-1]
        last.set_weights([array * np.float32(factor) for array in last.get_weights()])

    def whole(self) -> keras.Model:
        """Return pixels (B, S, S, 3) to logits (B, C), with the same layers."""
        keras = import_keras()
        tensor = self.features.outputs[0]
        for layer in self.classifier:
            tensor = layer(tensor)
        return keras.Model(self.features.inputs[0], tensor, name="whole")


@dataclass(frozen=True)
class SeedHead:
    """A head as dense layers, ReLU between them.

    Attributes
    ----------
    layers : tuple of (weights, bias)
        Of shapes (inputs, units) and (units,), float32; the first on raw features, the last with
        one unit a class.
    """

    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    def logits(self, X: np.ndarray) -> np.ndarray:
        """Return logits, shape (N, C) float32."""
        hidden = X.astype(np.float32, copy=False)
        for weights, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weights + bias, 0)
        weights, bias = self.layers[-1]
        return hidden @ weights + bias

    def scaled(self, factor: float) -> SeedHead:
        """Return the head with all its logits multiplied."""
        *hidden, last = self.layers
        weights, bias = (array * np.float32(factor) for array in last)
        return SeedHead((*hidden, (weights, bias)))

    def digest(self) -> str:
        """Return a SHA-256 of all weights."""
        found = hashlib.sha256()
        for array in (array for layer in self.layers for array in layer):
            found.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def seed_head(predictor: Any, model: str) -> SeedHead:
    """Return a head as layers, its calibration's temperature in its weights.

    Parameters
    ----------
    predictor : predictor
        What a run predicts with. A linear head is one layer; two classes have two logits, as
        softmax of two is the logistic function of their difference.
    model : str
        The head's name, for the message.

    Raises
    ------
    FitError
        If the head is of another kind.
    """
    if hasattr(predictor, "dense_layers"):
        return SeedHead(predictor.dense_layers())
    raise FitError(
        f"a {model} head has no weights that could become a layer of the network.",
        f"Heads that can: {', '.join(SEEDS)}.",
    )


def attach_head(features: keras.Model, cut: Cut, head: SeedHead) -> SeededNetwork:
    """Put a head on top of a network, exactly.

    Parameters
    ----------
    features : keras.Model
        Pixels to embeddings, pooled as those were that the head was trained on.
    cut : Cut
        Where the network is cut into trunk and top.
    head : SeedHead
        Each of its layers becomes a `Dense` layer.
    """
    keras = import_keras()
    taken = {layer.name for layer in features.layers}
    classifier = dense_layers(head.layers)
    for dense in classifier:
        dense.name = free_name(dense.name, taken)
    _, above = split(features, cut)
    tensor = above.outputs[0]
    for dense in classifier:
        tensor = dense(tensor)
    return SeededNetwork(features, keras.Model(above.inputs[0], tensor, name="top"), classifier)


def check_parity(
    top: keras.Model, activations: np.ndarray, head: SeedHead, X: np.ndarray, bf16: bool
) -> float:
    """Return by how much the network's logits differ from the head's; raise if by too much.

    Parameters
    ----------
    top : keras.Model
        Boundary to logits.
    activations : ndarray of shape (M, …), float16 or float32
        At the boundary.
    head : SeedHead
    X : ndarray of shape (M, D), float32
        Embeddings of the same images.
    bf16 : bool
        Whether the trunk computes in bfloat16.

    Returns
    -------
    float
        Largest difference of a logit, in units of the largest logit or of 1.

    Raises
    ------
    FitError
        If the network does not compute what the head does.
    """
    ours = np.asarray(top(activations.astype(np.float32), training=False))
    theirs = head.logits(X)
    parity = float(np.abs(ours - theirs).max() / max(1.0, float(np.abs(theirs).max())))
    allowed = _BFLOAT16_TOLERANCE if bf16 else TOLERANCE[str(activations.dtype)]
    if not parity <= allowed:
        wider = str(activations.dtype) == "float16" and not bf16
        raise FitError(
            f"the network's logits differ from the head's by {parity:.1e}, more than {allowed:g}.",
            "Keep more digits with --boundary-dtype float32, or cut elsewhere with --unfreeze."
            if wider
            else "The embeddings in the cache are not this backbone's: run tlx embed --rehash.",
        )
    return parity
