"""What every engine offers, and how a kind of engine tells the registry of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...cache.spec import FeatureSpec
from ...errors import TlxError
from ..backbones.family import Backbone


class Engine(Protocol):
    """A network that is ready to run: a uint8 batch in, float32 features out.

    Attributes
    ----------
    name : str
        Of its kind, such as ``"tensorflow"`` or ``"openvino"``.
    output_shape : tuple of int
        Shape of one image's features.
    note : str
        What a caller may want to tell: why the engine is not the one that is usual here, or that
        the converted model could not be kept. Empty if all is as it should be.
    """

    name: str
    output_shape: tuple[int, ...]
    note: str

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Map pixels (B, S, S, 3) uint8 to features float32 of (B,) + output_shape."""
        ...


@dataclass(frozen=True)
class EngineKind:
    """One kind of engine: the ``KIND`` of a file beside this one.

    Parameters
    ----------
    name : str
        As users type it after ``--engine``.
    order : int
        ``--engine auto`` tries the kind of the lowest first.
    load : callable
        ``load(backbone, spec)`` gives the `Engine` that computes the features of `spec`, of which
        ``image_size``, ``layer``, ``pooling`` and ``precision`` matter. It raises `EngineError`
        where another kind may do better.
    """

    name: str
    order: int
    load: Callable[[Backbone, FeatureSpec], Engine]


class EngineError(TlxError, RuntimeError):
    """An engine is missing here, or cannot take this network; another may."""


def check_batch(batch: np.ndarray, image_size: int) -> None:
    """Refuse anything but pixels of an engine's size.

    Examples
    --------
    >>> check_batch(np.zeros((2, 64, 64, 3), np.uint8), 64)
    """
    wanted = (image_size, image_size, 3)
    if batch.dtype != np.uint8 or batch.shape[1:] != wanted:
        raise ValueError(
            f"a batch must be uint8 (B, {image_size}, {image_size}, 3). "
            f"Got {batch.dtype} {batch.shape}."
        )
