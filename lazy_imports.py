"""Import TensorFlow, Keras and OpenVINO so that they neither chatter nor phone home.

Everything in tlx gets them here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import logging
import os
import pkgutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from .errors import TlxError

_LOCK = threading.Lock()
_VERBOSE = "TLX_VERBOSE"


def set_verbose(verbose: bool = True) -> None:
    """Let through, or keep back, what TensorFlow says by itself on standard error.

    It is kept back by default. To be called before TensorFlow is first imported; processes that
    are started from this one do likewise, as they inherit the environment variable TLX_VERBOSE.
    """
    if verbose:
        os.environ[_VERBOSE] = "1"
    else:
        os.environ.pop(_VERBOSE, None)


def import_beside(package: str) -> list[Any]:
    """Return all modules of a package, imported, in the order of their names.

    So a registry finds what it lists: a new member is a new file beside it.

    Parameters
    ----------
    package : str
        Of a registry: its ``__package__``.

    Examples
    --------
    >>> [module.__name__ for module in import_beside("tlx.classify.findings")][0]
    'tlx.classify.findings.conflict'
    """
    paths = importlib.import_module(package).__path__
    return [
        importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(paths)
    ]


def import_tensorflow() -> Any:
    """Return the `tensorflow` module, imported without a word on standard error.

    After `set_verbose` it says all that ``TF_CPP_MIN_LOG_LEVEL`` lets through.

    Notes
    -----
    ``TF_CPP_MIN_LOG_LEVEL`` alone does not silence TensorFlow 2.21: what is logged before its
    logging is set up (oneDNN, CUDA, CPU features) always goes to file descriptor 2. So that
    descriptor is turned to a file while TensorFlow is imported and looks for devices, and what
    was caught is shown only if the import fails. From then on level 3 lets nothing through but
    the last words before a crash.
    """
    with _LOCK:
        if "tensorflow" in sys.modules or os.environ.get(_VERBOSE):
            return importlib.import_module("tensorflow")
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        with _stderr_held_back():
            tensorflow = importlib.import_module("tensorflow")
            tensorflow.config.list_physical_devices()
        for logger in ("tensorflow", "absl"):  # advice on retracing, and the like
            logging.getLogger(logger).setLevel("ERROR")
        return tensorflow


def import_keras() -> Any:
    """Return the `keras` module, running on TensorFlow.

    Raises
    ------
    TlxError
        If Keras was imported before with another backend.
    """
    if "keras" not in sys.modules:
        # A user's keras.json may name another backend; tlx traces TensorFlow graphs.
        os.environ["KERAS_BACKEND"] = "tensorflow"
    import_tensorflow()
    import keras

    if keras.backend.backend() != "tensorflow":
        raise TlxError(
            f"Keras runs on {keras.backend.backend()!r} in this process, tlx needs TensorFlow.",
            "Set KERAS_BACKEND=tensorflow before Keras is imported.",
        )
    return keras


def import_openvino() -> Any:
    """Return the `openvino` module, imported with its telemetry and its converter left out.

    Notes
    -----
    Importing OpenVINO starts a thread that reports the import to a server abroad and writes an
    identifier below the home folder, without asking. It does neither when `openvino_telemetry`
    cannot be imported, a case it provides for with stubs; so that import is made to fail. So is
    that of its converter, which takes longer than all the rest and is seldom used: see
    `import_converter`. ``openvino.convert_model`` is there all the same for others in the process.
    """
    with _LOCK:
        if "openvino" not in sys.modules:
            with _without("openvino_telemetry", "openvino.tools.ovc"):
                openvino: Any = importlib.import_module("openvino")
            openvino.convert_model = _convert_model
        return importlib.import_module("openvino")


def import_converter() -> Any:
    """Return OpenVINO's function `convert_model`, as silent as `import_openvino`."""
    import_openvino()
    with _LOCK, _without("openvino_telemetry"):
        return importlib.import_module("openvino.tools.ovc").convert_model


def import_quantizer() -> Any:
    """Return the `nncf` module, which quantises OpenVINO's models, as silent as `import_openvino`.

    It would report to the same server.
    """
    import_openvino()
    with _LOCK, _without("openvino_telemetry"):
        nncf = importlib.import_module("nncf")
    nncf.set_log_level(logging.ERROR)
    return nncf


def _convert_model(*args: Any, **kwargs: Any) -> Any:
    return import_converter()(*args, **kwargs)


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    """Make imports of modules fail that are not there yet."""
    blocked = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(blocked))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in blocked:
            del sys.modules[name]


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Collect what is written to file descriptor 2, and show it only if the block fails.

    Python's own `sys.stderr` goes on meanwhile, for other threads have things to say.
    """
    try:
        terminal = os.dup(2)
    except OSError:  # a process without standard error has nothing to hold back
        yield
        return
    with (
        os.fdopen(terminal, "wb"),
        tempfile.TemporaryFile() as caught,
        _python_stderr_to(terminal),
    ):
        os.dup2(caught.fileno(), 2)
        try:
            yield
        except BaseException:
            caught.seek(0)
            os.write(terminal, caught.read())
            raise
        finally:
            os.dup2(terminal, 2)


@contextlib.contextmanager
def _python_stderr_to(descriptor: int) -> Iterator[None]:
    """Let `sys.stderr` and a crash's traceback go to `descriptor` where they went to 2."""
    stream, watched = sys.stderr, faulthandler.is_enabled()
    try:
        own = stream.fileno() == 2
    except (AttributeError, OSError, ValueError):  # none at all, closed, or a notebook's
        own = False
    if own:
        stream.flush()
        sys.stderr = open(  # noqa: SIM115
            descriptor,
            "w",
            buffering=1,
            encoding=stream.encoding,
            errors=stream.errors,
            closefd=False,
        )
    if not watched:
        faulthandler.enable(descriptor)
    try:
        yield
    finally:
        if not watched:
            faulthandler.disable()
        if own:
            sys.stderr.close()
            sys.stderr = stream
