"""All formats, read from the files beside this one."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from ...errors import UnknownNameError
from .format import Format


@functools.cache
def formats() -> Mapping[str, Format]:
    """Return all formats by name.

    They are the modules of `tlx.deploy.formats` that have a `FORMAT`. None of these imports its
    framework before it writes or opens a file.

    Examples
    --------
    >>> formats()["onnx"].file
    'model.onnx'
    """
    package = importlib.import_module(__package__ or "")
    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
    ]
    found = [
        module.FORMAT for module in modules if isinstance(getattr(module, "FORMAT", None), Format)
    ]
    return {each.name: each for each in sorted(found, key=lambda each: each.order)}


def get_format(name: str) -> Format:
    """Return the format of that name.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    if name not in formats():
        raise UnknownNameError.nearest("format", name, formats())
    return formats()[name]
