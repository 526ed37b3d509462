"""All kinds of findings, read from the files beside this one."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from .finding import Kind


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """Return all kinds of findings by name, in the order of their codes.

    They are in the ``KINDS`` of the modules of `tlx.classify.findings`.
    """
    package = importlib.import_module(__package__ or "")
    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
    ]
    found = [kind for module in modules for kind in getattr(module, "KINDS", ())]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.code)}
