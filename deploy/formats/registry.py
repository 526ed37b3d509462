"""All formats, read from the files beside this one."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ...errors import UnknownNameError
from ...lazy_imports import import_beside
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
    modules = import_beside(__package__ or "")
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
