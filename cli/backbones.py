"""``tlx backbones``: what can embed images, and what is on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .common import JsonOption, emit, say
from .render import table

if TYPE_CHECKING:
    from ..embed.backbones.family import BackboneRow, Family


def backbones(as_json: JsonOption = False) -> None:
    """List the pre-trained networks: input size, length of an embedding, parameters, weights.

    Below the table is what else can be named, such as keras:FILE for any saved Keras model.
    """
    from ..embed.backbones.registry import families, list_backbones

    rows = list_backbones()
    if as_json:
        emit({"backbones": [row._asdict() for row in rows]})
    else:
        say(as_text(rows, families()))


def as_text(rows: list[BackboneRow], families: Iterable[Family]) -> str:
    """Return the list as a table, and below it the families whose members have no row."""
    header = ["backbone", "pixels", "features", "parameters", "ImageNet weights"]
    cells = [
        [r.name, r.image_size, r.dim, f"{r.parameters / 1e6:.1f} million", r.weights] for r in rows
    ]
    also = [f"{family.form} for {family.help}" for family in families if family.form]
    return table(header, cells) + f"\n\nAlso: {', '.join(also)}." * bool(also)
