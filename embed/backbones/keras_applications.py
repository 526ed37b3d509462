"""Every model of `keras.applications`, its own preprocessing in front of it as layers."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...errors import TlxError, WeightsError
from ...lazy_imports import import_keras
from .family import Backbone, BackboneRow, Family, squeeze
from .keras_catalogue import APPLICATIONS, Application
from .random_weights import RANDOM_WEIGHTS, fill_random
from .weights_file import file_digest, fill_from, given_file, loading

if TYPE_CHECKING:
    import keras

_TIMEOUT: Final = 30  # seconds without a byte before a download counts as failed
_LOCK = threading.Lock()

# What keras.applications calls its modes, as y = x * scale + offset on RGB (caffe: BGR) of 0..255.
_STD = np.array([0.229, 0.224, 0.225])
_MODES: Final = {
    "keras:tf": (np.full(3, 1 / 127.5), np.full(3, -1.0)),
    "keras:torch": (1 / (255 * _STD), -np.array([0.485, 0.456, 0.406]) / _STD),
    "keras:caffe": (np.ones(3), -np.array([103.939, 116.779, 123.68])),
    "included": (np.ones(3), np.zeros(3)),
}


def discover() -> dict[str, str]:
    """Find the constructors of the installed Keras by looking at their parameters.

    Returns
    -------
    dict of str to str
        Backbone name (lower case) to constructor name.
    """
    applications = import_keras().applications
    return {
        name.lower(): name
        for name, function in inspect.getmembers(applications, inspect.isfunction)
        if {"include_top", "weights", "input_tensor"} <= set(inspect.signature(function).parameters)
    }


def find_application(name: str) -> Application | None:
    """Return the application called `name` (lower case), or None.

    Those of the catalogue are known without importing Keras; a newer Keras is asked for others.
    """
    if name in APPLICATIONS:
        return APPLICATIONS[name]
    constructor = discover().get(name)
    return describe(constructor) if constructor else None


def describe(constructor: str) -> Application:
    """Learn all about one constructor from its behaviour, by building it once.

    Raises
    ------
    TlxError
        If its preprocessing is of none of the kinds known here.
    """
    application = Application(
        constructor, default_image_size(constructor), find_preprocessing(constructor)
    )
    network = build(application, application.image_size, None)
    return application._replace(
        weights_file=_requested_file(constructor),
        dim=network.output_shape[-1],
        parameters=network.count_params(),
    )


def imagenet_weights(application: Application) -> Path:
    """Return Keras's file of ImageNet weights, downloaded by Keras if it is not there yet.

    Networks that Keras ships for several input sizes use the file of their default size at every
    size, so that the weights do not depend on the image size asked for.

    Raises
    ------
    WeightsError
        If it cannot be downloaded.
    """
    path = models_folder() / application.weights_file
    if application.weights_file and path.is_file():
        return path
    try:
        return _download(application.constructor)
    except Exception as error:  # Keras raises bare Exception here
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"cannot download the ImageNet weights of {application.constructor}: {reason}",
            "Give a file with --weights FILE, or use --backbone efficientnet-lite0, whose weights "
            "are installed with tlx and need no download.",
        ) from error


def models_folder() -> Path:
    """Return where Keras keeps downloaded weights, without importing Keras."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home, "models")


def build(application: Application, image_size: int, imagenet: Path | None) -> keras.Model:
    """Return the network without its classifier, from pixels of 0 to 255 to its last feature map.

    Parameters
    ----------
    application : Application
        Which one.
    image_size : int
        Height and width of the input, in pixels.
    imagenet : Path or None
        Keras's file of ImageNet weights, or None for Keras's own random values.

    Raises
    ------
    ValueError
        If the network cannot take images of this size.
    WeightsError
        If the file does not fit the network.
    """
    keras = import_keras()
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    arguments = {
        "include_top": False,
        "weights": None,
        "input_tensor": preprocess(pixels, application.preprocessing),
        "input_shape": (image_size, image_size, 3),
    }
    constructor = getattr(keras.applications, application.constructor)
    if imagenet is None:
        with _get_file_replaced(_note_request):
            network = constructor(**arguments)
    else:
        # EfficientNets scale their input for these weights only: Keras itself must load them.
        arguments["weights"] = "imagenet"
        with loading(imagenet), _get_file_replaced(lambda *args, **kwargs: str(imagenet)):
            network = constructor(**arguments)
    # Keras gives a list of one input, and warns when such a model is called with its image.
    return keras.Model(pixels, network.outputs[0], name=network.name)


def preprocess(pixels: Any, kind: str) -> Any:
    """Apply a mode of `keras.applications` as one layer (two for BGR)."""
    keras = import_keras()
    if kind == "included":
        return pixels
    if kind == "keras:caffe":
        pixels = keras.ops.flip(pixels, axis=-1)
    scale, offset = (values.tolist() for values in _MODES[kind])
    return keras.layers.Rescaling(scale, offset, name="preprocessing")(pixels)


def find_preprocessing(constructor: str) -> str:
    """Find which mode the `preprocess_input` beside a constructor applies, by trying it."""
    function = getattr(import_keras().applications, constructor)
    preprocess_input = getattr(inspect.getmodule(function), "preprocess_input", None)
    probe = np.array([[[[0.0, 50.0, 255.0], [200.0, 128.0, 3.0]]]])
    if preprocess_input is not None:
        found = preprocess_input(probe.copy(), data_format="channels_last")
        for kind, (scale, offset) in _MODES.items():
            pixels = probe[..., ::-1] if kind == "keras:caffe" else probe
            if np.allclose(found, pixels * scale + offset, atol=1e-4):
                return kind
    raise TlxError(
        f"the preprocessing of {constructor} is of no kind that this version of tlx knows.",
        "Save the model with its preprocessing inside, and use --backbone keras:FILE.",
    )


def default_image_size(constructor: str) -> int:
    """Return the size an application was trained at.

    It is no attribute of anything, but the full network with ImageNet weights insists on it
    before it builds or downloads anything, and says it.
    """
    function = getattr(import_keras().applications, constructor)
    try:
        with _get_file_replaced(_note_request):
            function(include_top=True, weights="imagenet", input_shape=(999, 999, 3))
    except _FileFound:  # it does not insist
        return 224
    except ValueError as error:
        if found := re.search(r"should be \((\d+), \1, 3\)", str(error)):
            return int(found[1])
    return 224


class _FileFound(BaseException):
    """Carries the file that a constructor asked for out of it, before it is loaded."""


def _requested_file(constructor: str) -> str:
    """Return the name of the file of weights that a constructor asks Keras for."""
    return _first_request(constructor, _note_request)


def _note_request(fname: str, *args: Any, **kwargs: Any) -> str:
    """Stand in for `get_file`: say what was asked for, download nothing."""
    raise _FileFound(fname)


def _download(constructor: str) -> Path:
    """Let Keras download the weights of a constructor, without a word on standard output."""
    keras = import_keras()
    get_file = keras.utils.get_file

    def fetch(*args: Any, **kwargs: Any) -> str:
        raise _FileFound(get_file(*args, **kwargs))

    interactive, timeout = keras.config.is_interactive_logging_enabled(), socket.getdefaulttimeout()
    with contextlib.suppress(OSError):
        models_folder().mkdir(parents=True, exist_ok=True)  # or Keras goes to /tmp
    keras.config.disable_interactive_logging()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        return Path(_first_request(constructor, fetch))
    finally:
        socket.setdefaulttimeout(timeout)
        if interactive:
            keras.config.enable_interactive_logging()


def _first_request(constructor: str, get_file: Callable[..., str]) -> str:
    """Build an application of ImageNet weights until `get_file` raises `_FileFound`."""
    function = getattr(import_keras().applications, constructor)
    try:
        with _get_file_replaced(get_file):
            function(include_top=False, weights="imagenet")
    except _FileFound as found:
        return str(found)
    raise WeightsError(f"Keras has no ImageNet weights of {constructor}.", "Use --weights FILE.")


@contextlib.contextmanager
def _get_file_replaced(function: Callable[..., str]) -> Iterator[None]:
    """Let the constructors of Keras get their weights from `function`.

    They offer no other way to learn which file they load, and identity depends on that file.
    """
    module = inspect.getmodule(import_keras().utils.get_file)
    with _LOCK, warnings.catch_warnings():
        # MobileNets warn at unusual sizes that the weights are those of 224, as they should be.
        warnings.simplefilter("ignore", UserWarning)
        original = module.get_file  # type: ignore[union-attr]
        module.get_file = function  # type: ignore[union-attr]
        try:
            yield
        finally:
            module.get_file = original  # type: ignore[union-attr]


def _find(name: str, weights: str) -> Backbone | None:
    key = squeeze(name)
    application = find_application(key)
    if application is None:
        return None
    imagenet = imagenet_weights(application) if weights == "imagenet" else None
    path = imagenet or given_file(weights)
    digest = file_digest(path) if path else RANDOM_WEIGHTS

    def built(image_size: int) -> keras.Model:
        if path and file_digest(path) != digest:
            raise WeightsError(f"{path} has changed since it was looked up.", "Run it again.")
        model = build(application, image_size, imagenet)
        if path is None:
            fill_random(model)
        return model if path is None or imagenet else fill_from(path, model)

    return Backbone(
        key, application.image_size, digest, application.preprocessing, weights, builder=built
    )


def _rows() -> list[BackboneRow]:
    folder = models_folder()
    ready = {name: (folder / row.weights_file).is_file() for name, row in APPLICATIONS.items()}
    return [
        BackboneRow(
            name,
            row.image_size,
            row.dim,
            row.parameters,
            "ready" if ready[name] else "downloaded by Keras",
        )
        for name, row in APPLICATIONS.items()
    ]


# Asked last of those without a scheme: it imports Keras to look for a name it does not know.
FAMILY: Final = Family(_find, _rows, order=100)
