"""All kinds of findings, read from the files beside this one."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ...lazy_imports import import_beside
from .finding import Kind


@functools.cache
def kinds() -> Mapping[str, Kind]:
    """Return all kinds of findings by name, in the order of their codes.

    They are in the ``KINDS`` of the modules of `tlx.classify.findings`.
    """
    modules = import_beside(__package__ or "")
    found = [kind for module in modules for kind in getattr(module, "KINDS", ())]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.code)}
