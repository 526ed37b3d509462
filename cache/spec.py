"""The feature spec: everything that determines the value of a feature, and nothing else."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import FormatError
from .identity import canonical_json, fingerprint_of

POOLINGS = ("avg", "max", "avg+max", "flatten", "none")
FITS = ("squash", "crop", "pad")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class FeatureSpec:
    """Provable identity of a feature.

    Two features are the same if and only if their specs have the same `fingerprint` and their
    images the same digest. The engine that computed a feature is not part of its spec: engines of
    one precision agree to rounding.

    Parameters
    ----------
    backbone : str
        Name of the pre-trained network.
    weights : str
        SHA-256 of its weights file in hexadecimal, or ``"random:SEED"``.
    preprocessing : str
        What the network does to pixels of 0 to 255 before its first layer.
    image_size : int
        Height and width of the network's input, in pixels.
    layer : str, default="last"
        Where the features are tapped; ``"last"`` is the last feature map.
    pooling : {"avg", "max", "avg+max", "flatten", "none"}, default="avg"
        How a feature map becomes a vector; ``"none"`` keeps the map.
    fit : {"squash", "crop", "pad"}, default="squash"
        How a photo of another shape is fitted into the square.
    interpolation : {"nearest", "bilinear", "bicubic", "lanczos"}, default="bilinear"
        Resampling filter.
    view : int, default=0
        0 is the plain image, k > 0 its k-th augmented view.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the forward pass.
    dtype : {"float32", "float16"}, default="float32"
        How the features are stored.
    decoder : int, default=1
        Revision of the decoding; see `tlx.embed.images.DECODER_REVISION`.
    """

    backbone: str
    weights: str
    preprocessing: str
    image_size: int
    layer: str = "last"
    pooling: str = "avg"
    fit: str = "squash"
    interpolation: str = "bilinear"
    view: int = 0
    precision: str = "float32"
    dtype: str = "float32"
    decoder: int = 1

    @functools.cached_property
    def json(self) -> str:
        """Canonical JSON text of the spec."""
        return canonical_json(dataclasses.asdict(self))

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of `json`, 64 hexadecimal digits."""
        return fingerprint_of(self.json)

    @classmethod
    def from_json(cls, text: str) -> FeatureSpec:
        """Read a spec back from its canonical JSON.

        Raises
        ------
        FormatError
            If the text is not a spec that this version of tlx knows.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as error:
            raise FormatError(
                f"not a feature spec of this version of tlx: {text[:80]!r}.",
                "A newer tlx may have written it: pip install --upgrade tlx-vision",
            ) from error

    def difference(self, other: FeatureSpec) -> Mapping[str, tuple[Any, Any]]:
        """Return the fields in which two specs differ, each with its two values."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return {k: (mine[k], theirs[k]) for k in mine if mine[k] != theirs[k]}

    def describe(self) -> str:
        """Return one short line for people, naming only what is not the default.

        Examples
        --------
        >>> FeatureSpec("vgg16", "random:0", "caffe", 150, pooling="flatten").describe()
        'vgg16 at 150, pooling flatten, weights random:0'
        """
        parts = [f"{self.backbone} at {self.image_size}"]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.default is not dataclasses.MISSING and value != field.default:
                parts.append(f"{field.name} {value}")
        if self.weights.startswith("random:"):
            parts.append(f"weights {self.weights}")
        return ", ".join(parts)
