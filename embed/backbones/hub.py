"""Presets of KerasHub, downloaded by it or saved in a folder. Stored code is never run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...errors import MissingExtraError, WeightsError
from ...lazy_imports import import_keras
from .family import Backbone, Family
from .keras_file import DEFAULT_IMAGE_SIZE, on_pixels
from .weights_file import file_digest, loading, own_weights, refuse_code

if TYPE_CHECKING:
    import keras

_CONVERTER: Final = "image_converter.json"


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
            refuse_code(folder / name, _read_json(folder / name))
    with loading(folder):
        backbone = keras_hub.models.Backbone.from_preset(str(folder))
        scale, offset = _converter_scaling(keras_hub, folder)
    if not isinstance(backbone.input, list | dict) and len(backbone.input.shape) == 4:
        return on_pixels(backbone, image_size, scale, offset)
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


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _find(preset: str, weights: str) -> Backbone:
    if weights != "imagenet":
        raise own_weights(f"hub:{preset}", weights)
    folder = preset_folder(preset)
    local = (Path(preset) / "config.json").is_file()
    return Backbone(
        f"hub:{folder if local else preset}",
        preset_image_size(folder),
        preset_digest(folder),
        "hub:image_converter",
        builder=lambda image_size: build_preset(folder, image_size),
    )


FAMILY: Final = Family(
    _find, scheme="hub", form="hub:PRESET", help="a preset of KerasHub", order=120
)
