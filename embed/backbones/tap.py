"""The model of one spec's features: a layer tapped, its positions pooled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...cache.spec import FeatureSpec
from ...errors import TlxError, UnknownNameError
from ...lazy_imports import import_keras
from .family import Backbone
from .keras_catalogue import KNOWN_LAYERS

if TYPE_CHECKING:
    import keras


def feature_model(backbone: Backbone, spec: FeatureSpec) -> keras.Model:
    """Build the model whose output is the feature that `spec` describes.

    Parameters
    ----------
    backbone : Backbone
        The network.
    spec : FeatureSpec
        Gives ``image_size``, ``layer`` and ``pooling``.

    Returns
    -------
    keras.Model
        (B, S, S, 3) pixels of 0 to 255 to features (B, D), or (B, H, W, D) without pooling.

    Raises
    ------
    UnknownNameError
        If the network has no layer of that name.
    TlxError
        If the layer's output cannot be pooled as asked.
    """
    keras = import_keras()
    network = backbone.build(spec.image_size)
    tapped = network.outputs[0] if spec.layer == "last" else _tap(network, spec.layer)
    return keras.Model(network.inputs[0], _pool(tapped, spec), name="features")


def _tap(network: keras.Model, name: str) -> Any:
    """Return the output of the layer called `name`, looking into models inside the network."""
    keras = import_keras()
    for layer in _real_layers(network):
        if layer.name == name:
            return _single_output(network, layer)
    for inner in _real_layers(network):
        if isinstance(inner, keras.Model) and name in _layer_names(inner):
            (tensor,) = inner._inbound_nodes[-1].input_tensors
            return keras.Model(inner.inputs[0], _tap(inner, name), name=inner.name)(tensor)
    raise UnknownNameError.nearest("layer", name, _layer_names(network), _whose(name))


def _whose(layer: str) -> str:
    """Return what to say of a layer whose name is known from another backbone."""
    for pattern, backbone in KNOWN_LAYERS.items():
        if re.fullmatch(pattern, layer):
            return f"{layer} is a layer of {backbone}: add --backbone {backbone}."
    return ""


def _real_layers(network: keras.Model) -> list[Any]:
    return [layer for layer in network.layers if type(layer).__name__ != "InputLayer"]


def _layer_names(network: keras.Model) -> list[str]:
    """Return the names that can be tapped, those inside nested models included."""
    keras = import_keras()
    names = []
    for layer in _real_layers(network):
        names.append(layer.name)
        if isinstance(layer, keras.Model):
            names += _layer_names(layer)
    return names


def _single_output(network: keras.Model, layer: Any) -> Any:
    # A model's own `output` belongs to its own graph; its last call is the one in this network.
    tensors = layer._inbound_nodes[-1].output_tensors
    if len(tensors) != 1:
        raise TlxError(
            f"layer {layer.name!r} of {network.name} has {len(tensors)} outputs.",
            "Name another layer, or leave --layer out.",
        )
    return tensors[0]


def _pool(tensor: Any, spec: FeatureSpec) -> Any:
    """Turn a feature map (B, …, D) into what `spec.pooling` asks for."""
    keras = import_keras()
    dimensions = len(tensor.shape) - 2
    if spec.pooling == "none":
        return tensor
    if spec.pooling == "flatten":
        return keras.layers.Flatten(name="flatten")(tensor) if dimensions else tensor
    if dimensions == 0 and spec.pooling in ("avg", "max"):
        return tensor
    if not 1 <= dimensions <= 3:
        raise TlxError(
            f"pooling {spec.pooling!r} needs a feature map, layer {spec.layer!r} gives "
            f"{tuple(tensor.shape)}.",
            "Use --pooling flatten, or tap an earlier layer.",
        )
    kinds = {"avg": "Average", "max": "Max"}
    pooled = [
        getattr(keras.layers, f"Global{kinds[part]}Pooling{dimensions}D")(name=f"pool_{part}")(
            tensor
        )
        for part in spec.pooling.split("+")
    ]
    return pooled[0] if len(pooled) == 1 else keras.layers.Concatenate(name="pool")(pooled)
