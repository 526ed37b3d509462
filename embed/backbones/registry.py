"""All families of backbones, read from the files beside this one: names to networks."""

from __future__ import annotations

import functools

from ...errors import UnknownNameError
from ...lazy_imports import import_beside
from .family import Backbone, BackboneRow, Family


@functools.cache
def families() -> tuple[Family, ...]:
    """Return all families, in the order in which they are listed and asked.

    They are the modules of `tlx.embed.backbones` that have a `FAMILY`. None of these imports Keras
    before it builds a network.
    """
    modules = import_beside(__package__ or "")
    found = [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
    return tuple(sorted(found, key=lambda family: family.order))


def get_backbone(name: str, weights: str = "imagenet") -> Backbone:
    """Find a backbone by name, without building it.

    Parameters
    ----------
    name : str
        One of `list_backbones`, such as ``"efficientnet-lite0"`` (case, dashes and underscores do
        not matter); ``"keras:FILE"`` for a saved Keras model, which gets pixels of 0 to 255 as
        they are; or ``"hub:PRESET"`` for a KerasHub preset, a local folder included.
    weights : str, default="imagenet"
        ``"imagenet"``, ``"none"`` for random weights (the same ones every time), or the path of a
        weights file. Models of ``keras:`` and ``hub:`` have their own; for ``keras:`` it may be the
        folder that FILE is in, whose path then is no part of the features' identity.

    Returns
    -------
    Backbone

    Raises
    ------
    UnknownNameError
        If no backbone has this name.
    WeightsError
        If the weights cannot be read or downloaded.
    MissingExtraError
        If the weights come in a package that is not installed.
    """
    scheme, colon, rest = name.partition(":")
    for family in families():
        if family.scheme:
            found = family.find(rest, weights) if colon and scheme == family.scheme else None
        else:
            found = None if colon else family.find(name, weights)
        if found is not None:
            return found
    known = [row.name for row in list_backbones()]
    known += [family.form for family in families() if family.form]
    raise UnknownNameError.nearest("backbone", name, known, "See: tlx backbones")


def list_backbones() -> list[BackboneRow]:
    """Return a row for each backbone with a name of its own, without importing Keras.

    The default comes first. Names with a scheme, such as
    ``keras:FILE``, are not listed: `families` has their forms.
    """
    return [row for family in families() for row in family.rows()]
