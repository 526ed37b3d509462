"""Pre-trained networks by name, and the model that maps pixels to one spec's features."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ...cache.spec import FeatureSpec
from ...errors import MissingExtraError, TlxError, UnknownNameError, WeightsError
from ...lazy_imports import import_keras
from . import keras_applications, saved_models
from . import lite as efficientnet_lite
from .keras_catalogue import APPLICATIONS, Application
from .weights_file import file_digest, loading

if TYPE_CHECKING:
    import keras

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
    builder : callable
        Builds the network for an image size; `build` calls it.
    """

    name: str
    image_size: int
    weights_digest: str
    preprocessing: str
    weights: str = "imagenet"
    builder: Callable[[int], Any] = field(kw_only=True, repr=False, compare=False)

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
        One of `list_backbones`, such as ``"efficientnet-lite0"`` (case, dashes and underscores do
        not matter); ``"keras:FILE"`` for a saved Keras model, which gets pixels of 0 to 255 as
        they are; or ``"hub:PRESET"`` for a KerasHub preset, a local folder included.
    weights : str, default="imagenet"
        ``"imagenet"``, ``"none"`` for random weights (the same ones every time), or the path of a
        weights file. Models of ``keras:`` and ``hub:`` have their own; for ``keras:`` it may be the
        folder that FILE is in, whose path then is no part of the features' identity.

    Returns
    -------
    Backbone

    Raises
    ------
    UnknownNameError
        If no backbone has this name.
    WeightsError
        If the weights cannot be read or downloaded.
    MissingExtraError
        If the weights come in a package that is not installed.
    """
    scheme, colon, rest = name.partition(":")
    if colon and scheme in ("keras", "hub"):
        if scheme == "keras" and Path(weights).is_dir():
            return _saved_backbone(Path(weights, rest), name, weights)
        if weights != "imagenet":
            raise WeightsError(
                f"{name} has its own weights and takes no --weights {weights}.",
                "Leave --weights out.",
            )
        return _saved_backbone(Path(rest)) if scheme == "keras" else _preset_backbone(rest)
    key = _squeeze(name)
    for lite in efficientnet_lite.VARIANTS:
        if key == _squeeze(lite):
            return _lite_backbone(lite, weights)
    application = keras_applications.find_application(key)
    if application is None:
        known = (row.name for row in list_backbones())
        raise UnknownNameError.nearest("backbone", name, known, "See: tlx backbones")
    return _application_backbone(key, application, weights)


class BackboneRow(NamedTuple):
    """What `list_backbones` says of one backbone.

    Parameters
    ----------
    name : str
        As `get_backbone` takes it.
    image_size : int
        Pixels it was trained at.
    dim : int
        Length of an embedding.
    parameters : int
        Weights without the classifier.
    weights : str
        ``"ready"`` if its ImageNet weights are on this machine, otherwise how to get them.
    """

    name: str
    image_size: int
    dim: int
    parameters: int
    weights: str


def list_backbones() -> list[BackboneRow]:
    """Return a row for each backbone with a name of its own, without importing Keras.

    The default comes first. ``keras:FILE`` and ``hub:PRESET`` are not listed.
    """
    rows = []
    for lite in efficientnet_lite.VARIANTS.values():
        try:
            efficientnet_lite.weights_path(lite)
            weights = "ready"
        except MissingExtraError as error:
            weights = error.remedy.removeprefix("Run: ")
        dim = efficientnet_lite.FEATURES
        rows.append(BackboneRow(lite.name, lite.image_size, dim, lite.parameters, weights))
    folder = keras_applications.models_folder()
    for name, row in APPLICATIONS.items():
        weights = "ready" if (folder / row.weights_file).is_file() else "downloaded by Keras"
        rows.append(BackboneRow(name, row.image_size, row.dim, row.parameters, weights))
    return rows


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


def _squeeze(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _lite_backbone(name: str, weights: str) -> Backbone:
    variant = efficientnet_lite.VARIANTS[name]
    packaged = efficientnet_lite.weights_path(variant) if weights == "imagenet" else None
    path = packaged or _given_file(weights)

    def build(image_size: int) -> keras.Model:
        if path is None or path.suffix in (".pth", ".pt"):
            return _random_if(
                path is None, efficientnet_lite.build_model(variant, image_size, path)
            )
        return _filled_from(path, efficientnet_lite.build_model(variant, image_size, None))

    return Backbone(
        name,
        variant.image_size,
        file_digest(path) if path else RANDOM_WEIGHTS,
        efficientnet_lite.PREPROCESSING,
        weights,
        builder=build,
    )


def _application_backbone(name: str, application: Application, weights: str) -> Backbone:
    imagenet = keras_applications.imagenet_weights(application) if weights == "imagenet" else None
    path = imagenet or _given_file(weights)
    digest = file_digest(path) if path else RANDOM_WEIGHTS

    def build(image_size: int) -> keras.Model:
        if path and file_digest(path) != digest:
            raise WeightsError(f"{path} has changed since it was looked up.", "Run it again.")
        model = keras_applications.build(application, image_size, imagenet)
        if path is None or imagenet:
            return _random_if(path is None, model)
        return _filled_from(path, model)

    return Backbone(
        name, application.image_size, digest, application.preprocessing, weights, builder=build
    )


def _saved_backbone(path: Path, name: str = "", weights: str = "imagenet") -> Backbone:
    path = path.expanduser().resolve()
    digest = file_digest(path)
    return Backbone(
        name or f"keras:{path}",
        saved_models.saved_image_size(path),
        digest,
        "included",
        weights,
        builder=lambda image_size: saved_models.build_saved(path, image_size),
    )


def _preset_backbone(preset: str) -> Backbone:
    folder = saved_models.preset_folder(preset)
    local = (Path(preset) / "config.json").is_file()
    return Backbone(
        f"hub:{folder if local else preset}",
        saved_models.preset_image_size(folder),
        saved_models.preset_digest(folder),
        "hub:image_converter",
        builder=lambda image_size: saved_models.build_preset(folder, image_size),
    )


def _given_file(weights: str) -> Path | None:
    """Return the weights file a user named, or None for random weights."""
    return None if weights == "none" else Path(weights).expanduser()


def _random_if(wanted: bool, model: keras.Model) -> keras.Model:
    if wanted:
        fill_random(model)
    return model


def _filled_from(path: Path, model: keras.Model) -> keras.Model:
    with loading(path):
        model.load_weights(path)
    return model


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


_LAYERS_OF = {  # names that recipes use, and the backbone whose they are
    r"mixed\d+": "inceptionv3",
    r"block\d_(conv\d|pool)": "vgg16",
    r"conv\d_block\d+_\w+": "resnet50",
    r"block\d[a-z]_\w+": "efficientnetb0",
}


def _whose(layer: str) -> str:
    """Return what to say of a layer whose name is known from another backbone."""
    for pattern, backbone in _LAYERS_OF.items():
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
