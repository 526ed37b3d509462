"""Backbones out of files: any Keras model that was saved whole. Its code is never run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...errors import TlxError, WeightsError
from ...lazy_imports import import_keras
from .family import Backbone, Family
from .weights_file import file_digest, loading, own_weights, refuse_code

if TYPE_CHECKING:
    import keras

DEFAULT_IMAGE_SIZE: Final = 224
_CONFIG_LIMIT: Final = 64 << 20  # bytes; the largest known graph has about 2 MB


def saved_image_size(path: Path) -> int:
    """Return the input size of a saved Keras model, without importing Keras.

    Parameters
    ----------
    path : Path
        A ``.keras`` or a whole-model ``.h5`` file.

    Returns
    -------
    int
        Pixels; 224 if the model takes images of any size.

    Raises
    ------
    WeightsError
        If the file holds no model of one square RGB input, or one with a ``Lambda`` layer, which
        is stored code.
    """
    with loading(path):
        config = _read_config(path)
    refuse_code(path, config)
    shapes = list(_input_shapes(config))
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3 or shapes[0][1] != shapes[0][2]:
        raise WeightsError(
            f"{path} takes {shapes or 'no known input'}, not one batch of square RGB images.",
            "Save a model whose only input is (None, SIZE, SIZE, 3), pixels of 0 to 255.",
        )
    return shapes[0][1] or DEFAULT_IMAGE_SIZE


def build_saved(path: Path, image_size: int) -> keras.Model:
    """Load a saved model as a backbone: pixels of 0 to 255 go in as they are.

    Raises
    ------
    WeightsError
        If Keras cannot load it in its safe mode.
    TlxError
        If it takes images of another size only.
    """
    keras = import_keras()
    saved_image_size(path)
    with loading(path):
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    fixed = model.input_shape[1]
    if fixed not in (None, image_size):
        raise TlxError(
            f"{path} takes images of {fixed} pixels only, not {image_size}.",
            f"Use --image-size {fixed}",
        )
    return on_pixels(model, image_size) if fixed is None else model


def on_pixels(
    model: keras.Model, image_size: int, scale: Any = None, offset: Any = None
) -> keras.Model:
    """Put `model` behind an input of one size, and behind a scaling of pixels if there is one."""
    keras = import_keras()
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    x = pixels
    if scale is not None or offset is not None:
        scale, offset = (1.0 if scale is None else scale), (0.0 if offset is None else offset)
        x = keras.layers.Rescaling(scale, offset, name="preprocessing")(x)
    return keras.Model(pixels, model(x), name=f"{model.name}_{image_size}")


def _read_config(path: Path) -> dict[str, Any]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("config.json").file_size > _CONFIG_LIMIT:
                raise ValueError("its config.json is larger than any model's")
            return json.loads(archive.read("config.json"))
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        if "model_config" not in file.attrs:
            raise WeightsError(
                f"{path} holds weights without their model.",
                f"Name the network as well: --backbone NAME --weights {path}",
            )
        return json.loads(str(file.attrs["model_config"]))


def _input_shapes(config: dict[str, Any]) -> Iterator[list[int | None]]:
    """Yield the shape of each input of a Functional or Sequential model's config."""
    layers = config.get("config", {}).get("layers", [])
    found = False
    for layer in layers:
        if layer.get("class_name") == "InputLayer":
            found = True
            inner = layer["config"]
            yield inner.get("batch_shape") or inner.get("batch_input_shape")
    if not found and (shape := (config.get("build_config") or {}).get("input_shape")):
        yield shape


def _find(file: str, weights: str) -> Backbone:
    """Return the model in `file`; in the folder `weights`, if that is one.

    With a folder, the path of that folder is no part of the backbone's name.
    """
    if Path(weights).is_dir():
        path, name = Path(weights, file), f"keras:{file}"
    elif weights == "imagenet":
        path, name = Path(file), ""
    else:
        raise own_weights(f"keras:{file}", weights)
    path = path.expanduser().resolve()
    digest = file_digest(path)
    return Backbone(
        name or f"keras:{path}",
        saved_image_size(path),
        digest,
        "included",
        weights,
        builder=lambda image_size: build_saved(path, image_size),
    )


FAMILY: Final = Family(
    _find, scheme="keras", form="keras:FILE", help="a saved Keras model", order=110
)
