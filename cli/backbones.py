"""``tlx backbones``: what can embed images, and what is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .common import JsonOption, emit, say
from .render import table

if TYPE_CHECKING:
    from ..embed.backbones.registry import BackboneRow


def backbones(as_json: JsonOption = False) -> None:
    """List the pre-trained networks: input size, length of an embedding, parameters, weights.

    Besides these, keras:FILE is any saved Keras model, and hub:PRESET a KerasHub preset.
    """
    from ..embed.backbones.registry import list_backbones

    rows = list_backbones()
    emit({"backbones": [row._asdict() for row in rows]}) if as_json else say(as_text(rows))


def as_text(rows: list[BackboneRow]) -> str:
    """Return the list as a table."""
    header = ["backbone", "pixels", "features", "parameters", "ImageNet weights"]
    cells = [
        [r.name, r.image_size, r.dim, f"{r.parameters / 1e6:.1f} million", r.weights] for r in rows
    ]
    return table(header, cells) + "\n\nAlso: keras:FILE for a saved Keras model, hub:PRESET."
