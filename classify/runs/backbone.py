"""The network that a run's features come from."""

from __future__ import annotations

from ...cache.spec import FeatureSpec
from ...embed.backbones.family import Backbone
from ...embed.backbones.registry import get_backbone
from ...errors import WeightsError
from .run import Run


def run_backbone(run: Run, source: dict[str, str]) -> Backbone:
    """Return the network that computes the features of `source`, one of a run's.

    That of a fine-tuned run is its own ``model.keras``, wherever the run's folder has been moved.

    Raises
    ------
    WeightsError
        If the weights found here are not those that the run was trained with.
    """
    spec = FeatureSpec.from_json(source["spec"])
    kind, _, part = spec.backbone.partition(":")
    own = kind == "keras" and part in run.info.parts
    network = get_backbone(spec.backbone, str(run.folder) if own else source["weights"])
    if network.weights_digest != spec.weights:
        raise WeightsError(
            f"the weights of {spec.backbone} here are not those of run {run.id}: "
            f"{network.weights_digest[:12]} instead of {spec.weights[:12]}.",
            "Install the version of the weights that it was trained with, or fit it again.",
        )
    return network
