"""What the converters of several formats have in common."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ...lazy_imports import import_tensorflow

if TYPE_CHECKING:
    import keras


def signature(network: keras.Model) -> list[Any]:
    """Return what Keras asks of a network that was never called: its input, any number of images.

    The input's name becomes that in the file.
    """
    tf = import_tensorflow()
    (tensor,) = network.inputs
    return [tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name)]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep back what converters print and log of themselves, unless it is an error."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
