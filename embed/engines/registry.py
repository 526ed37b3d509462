"""All kinds of engine, read from the files beside this one, and the choice of one."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ...cache.spec import FeatureSpec
from ...errors import UnknownNameError
from ...lazy_imports import import_beside
from ..backbones.family import Backbone
from .engine import Engine, EngineError, EngineKind


@functools.cache
def engine_kinds() -> Mapping[str, EngineKind]:
    """Return all kinds of engine by name, in the order in which ``auto`` tries them.

    They are the modules of `tlx.embed.engines` that have a `KIND`. None of these imports its
    framework before it loads a network.

    Examples
    --------
    >>> list(engine_kinds())
    ['openvino', 'tensorflow']
    """
    modules = import_beside(__package__ or "")
    kinds = [module.KIND for module in modules if hasattr(module, "KIND")]
    return {kind.name: kind for kind in sorted(kinds, key=lambda kind: kind.order)}


def load_engine(backbone: Backbone, spec: FeatureSpec, engine: str = "auto") -> Engine:
    """Load the engine that computes the features of `spec`.

    Parameters
    ----------
    backbone : Backbone
        The network that `spec` names.
    spec : FeatureSpec
        Its ``image_size``, ``layer``, ``pooling`` and ``precision`` are used.
    engine : str, default="auto"
        One of `engine_kinds`. ``"auto"`` is OpenVINO, and TensorFlow for a network that OpenVINO
        cannot take; the reason is then in the engine's ``note``.

    Returns
    -------
    Engine

    Raises
    ------
    UnknownNameError
        If there is no such engine, or no such layer.
    EngineError
        If the engine that was asked for is missing here, or cannot take the network.
    TlxError
        If this processor has no bfloat16 and the spec asks for it.
    """
    kinds = engine_kinds()
    if engine in kinds:
        return kinds[engine].load(backbone, spec)
    if engine != "auto":
        raise UnknownNameError.nearest("engine", engine, ["auto", *kinds])
    reasons: list[EngineError] = []
    for kind in kinds.values():
        try:
            found = kind.load(backbone, spec)
        except EngineError as error:
            reasons.append(error)
        else:
            found.note = " ".join(filter(None, [*(error.cause for error in reasons), found.note]))
            return found
    raise reasons[-1]
