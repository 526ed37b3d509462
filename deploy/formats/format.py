"""The contract of a format: one object that says all that the rest of tlx needs to know of it.

A file of this folder that has a `FORMAT` is a format; `tlx.deploy.formats.registry` finds it there,
and ``tlx export --format``, the parity gate and the conformance tests follow. N images, S pixels a
side, C classes throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import MissingExtraError, TlxError

if TYPE_CHECKING:
    import keras

Classifier = Callable[[np.ndarray], np.ndarray]  # uint8 (N, S, S, 3) to float32 (N, C)
OUTPUT = "probabilities"  # name of the output, where a format has names
PRECISIONS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Order:
    """How a network is to be written, beside where.

    Attributes
    ----------
    note : dict
        What belongs into the file's own metadata, as JSON: ``class_names`` (in the order of the
        output), ``image_size``, ``fit``, ``interpolation``, ``run``, ``dataset`` and
        ``fingerprint``.
    precision : str
        One of the format's own.
    calibration : ndarray of shape (M, S, S, 3), uint8, or None
        Training images, for ``"int8"``.
    runtime : Path or None
        Folder of a runtime that is to be copied beside the network, where a format takes one.
    """

    note: dict[str, Any]
    precision: str = "float32"
    calibration: np.ndarray | None = None
    runtime: Path | None = None


@dataclass(frozen=True)
class Format:
    """One format: the ``FORMAT`` of a file beside this one.

    Attributes
    ----------
    name : str
        As users type it after ``--format``.
    help : str
        What it is and what runs it, in a few words.
    file : str
        Name of the network's file, or folder, in the folder of an export.
    write : callable
        ``write(network, path, order)`` writes a flat Keras model (see `tlx.deploy.network`) as
        `path`, which may be a file or a folder and is not there yet; other files may lie beside it.
    open : callable
        ``open(path)`` gives a `Classifier` that the format's own runtime runs, without TensorFlow
        where the runtime needs none. Nothing in the file is unpickled. What a runtime lets a
        network do, it may do: so files of others are opened only where `predicts`.
    modules : tuple of str
        What has to be installed to write it, beside `runs_with`.
    runs_with : tuple of str
        What has to be installed to open it.
    extra : str
        The extra of tlx that installs them.
    precisions : tuple of str
        Of `PRECISIONS`.
    int8_modules : tuple of str
        What has to be installed for ``"int8"`` as well, by the extra ``int8``.
    predicts : bool
        Whether ``tlx predict`` takes such a file: it may be anybody's, so its runtime has no
        operation that reads or writes files, and it needs no TensorFlow.
    check_runtime : callable or None
        ``check_runtime(folder)`` refuses a folder that is not the runtime that the format copies
        beside the network, before any work; None where it copies none.
    own_folder : bool
        Whether it is many files, which are always put into a folder of their own.
    next_step : str
        A command that makes use of an export, whose folder takes the place of ``{}``.
    order : int
        Formats of a lower one are listed first.
    """

    name: str
    help: str
    file: str
    write: Callable[[keras.Model, Path, Order], None] = field(repr=False)
    open: Callable[[Path], Classifier] = field(repr=False)
    modules: tuple[str, ...] = ()
    runs_with: tuple[str, ...] = ()
    extra: str = "export"
    precisions: Sequence[str] = ("float32",)
    int8_modules: tuple[str, ...] = ()
    predicts: bool = False
    check_runtime: Callable[[Path], object] | None = field(default=None, repr=False)
    own_folder: bool = False
    next_step: str = ""
    order: int = 0

    @property
    def suffix(self) -> str:
        """Of the network's file, such as ``".onnx"``; ``""`` if it is a folder."""
        return Path(self.file).suffix

    def require(self, precision: str = "float32") -> None:
        """Raise if something that writes the format is not installed; nothing is imported.

        Raises
        ------
        TlxError
            If it has no such precision.
        MissingExtraError
        """
        if precision not in self.precisions:
            raise TlxError(
                f"format {self.name} has no precision {precision!r}.",
                f"It has {', '.join(self.precisions)}.",
            )
        self.require_runtime()
        needed = dict.fromkeys(self.modules, self.extra)
        needed |= dict.fromkeys(self.int8_modules if precision == "int8" else (), "int8")
        _require(needed)

    def require_runtime(self) -> None:
        """Raise if something that opens the format is not installed; nothing is imported.

        Raises
        ------
        MissingExtraError
        """
        _require(dict.fromkeys(self.runs_with, self.extra))


def _require(needed: dict[str, str]) -> None:
    """Raise if a module is not installed; `needed` has the extra that installs it."""
    for module, extra in needed.items():
        if find_spec(module) is None:
            raise MissingExtraError.of(module, extra)
