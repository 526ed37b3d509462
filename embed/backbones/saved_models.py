"""Backbones out of files: any saved Keras model, and KerasHub presets. Their code is never run."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...errors import MissingExtraError, TlxError, WeightsError
from ...lazy_imports import import_keras
from .weights_file import file_digest, loading

if TYPE_CHECKING:
    import keras

DEFAULT_IMAGE_SIZE: Final = 224
_CONFIG_LIMIT: Final = 64 << 20  # bytes; the largest known graph has about 2 MB
_CONVERTER: Final = "image_converter.json"


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
    _refuse_code(path, config)
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
    return _on_pixels(model, image_size) if fixed is None else model


def preset_folder(preset: str) -> Path:
    """Return the local folder of a KerasHub preset, downloaded by KerasHub if it is not there.

    Raises
    ------
    MissingExtraError
        If KerasHub is not installed.
    WeightsError
        If the preset is unknown or cannot be downloaded.
    """
    if (Path(preset) / "config.json").is_file():
        return Path(preset).resolve()
    _import_keras_hub()
    from keras_hub.src.utils.preset_utils import get_file  # type: ignore[import-not-found]

    try:
        folder = Path(get_file(preset, "config.json")).parent
        for name in (_CONVERTER, "model.weights.h5"):
            _fetch_optional(get_file, preset, name)
        return folder
    except Exception as error:  # each hub raises its own kinds
        raise WeightsError(
            f"no KerasHub preset {preset!r}: {str(error).splitlines()[0][:200]}",
            "Give a folder that save_to_preset wrote, or a preset of https://keras.io/keras_hub.",
        ) from error


def preset_image_size(folder: Path) -> int:
    """Return the input size a preset was made for, in pixels, without importing Keras."""
    for name, key in ((_CONVERTER, "image_size"), ("config.json", "image_shape")):
        with loading(folder / name):
            config = _read_json(folder / name)
        size = (config.get("config", {}).get(key) or [None])[0]
        if isinstance(size, int):
            return size
    return DEFAULT_IMAGE_SIZE


def preset_digest(folder: Path) -> str:
    """Return one SHA-256 over the names and contents of the files that make a preset's features."""
    digest = hashlib.sha256()
    parts = sorted({folder / "config.json", folder / _CONVERTER, *folder.glob("model*")})
    for path in parts:
        if path.is_file():
            digest.update(f"{path.name}\n{file_digest(path)}\n".encode())
    return digest.hexdigest()


def build_preset(folder: Path, image_size: int) -> keras.Model:
    """Load a preset as a backbone, its own scaling of pixels in front.

    Raises
    ------
    MissingExtraError
        If KerasHub is not installed.
    WeightsError
        If the folder holds no image backbone that can be loaded in Keras's safe mode.
    """
    keras_hub = _import_keras_hub()
    for name in ("config.json", _CONVERTER):
        with loading(folder / name):
            _refuse_code(folder / name, _read_json(folder / name))
    with loading(folder):
        backbone = keras_hub.models.Backbone.from_preset(str(folder))
        scale, offset = _converter_scaling(keras_hub, folder)
    if not isinstance(backbone.input, list | dict) and len(backbone.input.shape) == 4:
        return _on_pixels(backbone, image_size, scale, offset)
    raise WeightsError(
        f"{folder} holds {type(backbone).__name__}, whose input is not one image.",
        "Use a preset of an image classifier's backbone.",
    )


def _import_keras_hub() -> Any:
    import_keras()
    try:
        import keras_hub  # type: ignore[import-not-found]
    except ImportError as error:
        raise MissingExtraError.of("keras-hub", "hub") from error
    return keras_hub


def _fetch_optional(get_file: Any, preset: str, name: str) -> None:
    """Download one file of a preset that not every preset has."""
    try:
        get_file(preset, name)
    except FileNotFoundError:
        return


def _converter_scaling(keras_hub: Any, folder: Path) -> tuple[Any, Any]:
    """Return the scale and offset that a preset's image converter applies to pixels."""
    if not (folder / _CONVERTER).is_file():
        return None, None
    converter = keras_hub.layers.ImageConverter.from_preset(str(folder))
    return converter.scale, converter.offset


def _on_pixels(
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


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _refuse_code(path: Path, config: Any) -> None:
    """Raise if a model's config holds Python code: a ``Lambda`` layer or function."""
    pending = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if part.get("class_name") in ("Lambda", "__lambda__"):
                raise WeightsError(
                    f"{path} has a Lambda layer, which is Python code of whoever saved it.",
                    "Save the model again with a built-in layer in its place.",
                )
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


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
