"""Pre-trained networks by name, and the model that maps pixels to one spec's features."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import TlxError, UnknownNameError, WeightsError
from . import efficientnet_lite
from .quiet import import_keras
from .spec import FeatureSpec

if TYPE_CHECKING:
    import keras

DEFAULT_BACKBONE: Final = "efficientnet-lite0"
RANDOM_SEED: Final = 0
RANDOM_WEIGHTS: Final = f"random:{RANDOM_SEED}"


@dataclass(frozen=True)
class Backbone:
    """A pre-trained network, known by name and not yet built.

    Parameters
    ----------
    name : str
        Canonical name; `get_backbone` takes it back.
    image_size : int
        Default height and width of the input, in pixels.
    weights_digest : str
        SHA-256 of the weights file in hexadecimal, or ``"random:0"``.
    preprocessing : str
        What the network does to pixels of 0 to 255, as a spec names it.
    weights : str, default="imagenet"
        The weights as asked for; with `name` it rebuilds this object in another process.
    """

    name: str
    image_size: int
    weights_digest: str
    preprocessing: str
    weights: str = "imagenet"
    builder: Callable[[int], keras.Model] = field(
        kw_only=True, repr=False, compare=False, default=None
    )  # type: ignore[assignment]

    def build(self, image_size: int) -> keras.Model:
        """Return the network without its classifier, preprocessing inside.

        Parameters
        ----------
        image_size : int
            Height and width of the input, in pixels.

        Returns
        -------
        keras.Model
            (B, image_size, image_size, 3) RGB of 0 to 255, float or uint8, to the last feature
            map.

        Raises
        ------
        TlxError
            If the network cannot take images of this size.
        WeightsError
            If the weights do not fit the network.
        """
        import_keras()
        try:
            return self.builder(image_size)
        except TlxError:
            raise
        except ValueError as error:
            raise TlxError(
                f"{self.name} cannot be built for images of {image_size} pixels: {error}",
                f"Its own size is {self.image_size}: --image-size {self.image_size}",
            ) from error


def get_backbone(name: str, weights: str = "imagenet") -> Backbone:
    """Find a backbone by name, without building it.

    Parameters
    ----------
    name : str
        Such as ``"efficientnet-lite0"``; case, dashes and underscores do not matter.
    weights : str, default="imagenet"
        ``"imagenet"``, ``"none"`` for random weights (the same ones every time), or the path of a
        weights file.

    Returns
    -------
    Backbone

    Raises
    ------
    UnknownNameError
        If no backbone has this name.
    WeightsError
        If the weights file cannot be read.
    MissingExtraError
        If the weights come in a package that is not installed.
    """
    known = {_squeeze(lite): lite for lite in efficientnet_lite.VARIANTS}
    key = _squeeze(name)
    if key not in known:
        raise UnknownNameError.nearest("backbone", name, known.values())
    return _lite_backbone(known[key], weights)


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
    tapped = network.output if spec.layer == "last" else _tap(network, spec.layer)
    return keras.Model(network.input, _pool(tapped, spec), name="features")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits.

    Raises
    ------
    WeightsError
        If the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise WeightsError(
            f"cannot read the weights file {path}: {error.strerror}.",
            "Give the path of a weights file, or --weights imagenet, or --weights none.",
        ) from error
    return digest.hexdigest()


def fill_random(model: keras.Model, seed: int = RANDOM_SEED) -> None:
    """Give every kernel of `model` He-normal values that depend on `seed` alone.

    Vectors (biases, scales, moving averages) keep their constant starting values. Keras's own
    initialisers are not used: they draw from global state, and features must be reproducible.
    """
    generator = np.random.default_rng(seed)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        for weight in layer._trainable_variables:
            shape = tuple(weight.shape)
            if len(shape) >= 2:
                depthwise = "Depthwise" in type(layer).__name__
                fan_in = math.prod(shape[:2] if depthwise else shape[:-1])
                values = generator.standard_normal(shape, dtype=np.float32)
                weight.assign(values * math.sqrt(2 / fan_in))


def _squeeze(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _lite_backbone(name: str, weights: str) -> Backbone:
    variant = efficientnet_lite.VARIANTS[name]
    path = None
    if weights != "none":
        path = efficientnet_lite.weights_path(variant) if weights == "imagenet" else Path(weights)

    def build(image_size: int) -> keras.Model:
        model = efficientnet_lite.build_model(variant, image_size, path)
        if path is None:
            fill_random(model)
        return model

    return Backbone(
        name,
        variant.image_size,
        file_digest(path) if path else RANDOM_WEIGHTS,
        efficientnet_lite.PREPROCESSING,
        weights,
        builder=build,
    )


def _tap(network: keras.Model, name: str) -> Any:
    """Return the output of the layer called `name`."""
    layers = {layer.name: layer for layer in network.layers[1:]}
    if name not in layers:
        raise UnknownNameError.nearest("layer", name, layers)
    try:
        tensor = layers[name].output
    except AttributeError:
        tensor = None
    if tensor is None or isinstance(tensor, (list, tuple, dict)):
        raise TlxError(
            f"layer {name!r} of {network.name} has more than one output.",
            "Name another layer, or leave --layer out.",
        )
    return tensor


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
