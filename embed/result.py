"""What a pass over a data set did, for its caller to tell."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field

from ..cache.groups import conflicting_copies
from ..cache.manifest import Manifest
from ..cache.spec import FeatureSpec
from ..reprs import html_table
from .dataset import Scan
from .fill import Look, SpecFill
from .part import Part


@dataclass(repr=False)
class EmbedResult:
    """What `embed_images` did.

    Attributes
    ----------
    dataset : str
        Name under which the data set is known in the workspace.
    images, embedded, reused : int
        All images (of the part); those whose features were computed now; those that had theirs.
    views_embedded : int
        Augmented views computed now.
    measured : int
        Pictures of images embedded before that were looked at now: see `tlx.audit_run`.
    unreadable : list of dict
        ``{"path", "reason"}`` of each image without a feature.
    spec : FeatureSpec
    dim : int
        Length of a feature, or the product of its shape.
    classes : dict
        Images that can be used, by class.
    splits : dict
        Images that can be used, by split.
    validation_fraction : float or None
        Share that tlx set aside for validation, now or before; 0 if it did not, None if an older
        tlx did and kept no share.
    conflicts : list of tuple of str
        Pairs of paths whose files are the same, byte for byte, and whose classes are not.
    seconds, images_per_second : float
        Wall time of the pass, and computed features by it.
    engine : str or None
        None if nothing had to be computed.
    scan : Scan
        What was found and what was ignored.
    part : Part or None
        Which part of the data set was embedded; None if it is all of it.
    dataset_images : int
        Images of all parts.
    problems : list of str
        Damaged shards that were set aside.
    notes : list of str
        What one may want to know: why the engine is not the usual one, or what became of a split.
    """

    dataset: str
    images: int
    embedded: int
    views_embedded: int
    measured: int
    reused: int
    unreadable: list[dict[str, str]]
    spec: FeatureSpec
    dim: int
    classes: dict[str, int]
    splits: dict[str, int]
    validation_fraction: float | None
    conflicts: list[tuple[str, str]]
    seconds: float
    engine: str | None
    scan: Scan
    part: Part | None
    dataset_images: int
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        """Computed features by wall time of the whole pass."""
        return (self.embedded + self.views_embedded) / self.seconds if self.seconds else 0.0

    def __repr__(self) -> str:
        return (
            f"<EmbedResult {self.dataset!r}: {self.images} images, {self.embedded} embedded, "
            f"{self.reused} reused, {len(self.unreadable)} unreadable; {self.spec.describe()}>"
        )

    def _repr_html_(self) -> str:
        rows = [*self.classes.items(), *((f"{name} split", n) for name, n in self.splits.items())]
        return html_table(repr(self), ("class", "images"), rows)


def result_of(
    seen: Look,
    part: Part | None,
    corrected: Manifest,
    one: SpecFill,
    faults: dict[int, str],
    measured: int,
    notes: list[str],
    started: float,
) -> EmbedResult:
    """Sum up a pass for one of its specs; splits and classes are those of corrected labels."""
    manifest = seen.scan.manifest
    reasons = {row: why for row, why in enumerate(manifest.error) if why} | faults
    usable, used = manifest.usable, corrected.usable
    usable[list(faults)] = used[list(faults)] = False
    splits = Counter(s for s, ok in zip(manifest.split, used, strict=True) if ok and s)
    labels = corrected.label[used]
    return EmbedResult(
        dataset=manifest.name,
        images=len(manifest),
        embedded=one.embedded[0],
        views_embedded=sum(one.embedded[1:]),
        measured=measured,
        reused=int(usable.sum()) - one.embedded[0],
        unreadable=[
            {"path": manifest.path[row], "reason": reasons[row]} for row in sorted(reasons)
        ],
        spec=one.spec,
        dim=math.prod(one.stores[0].feature_shape() or (0,)),
        classes={name: int((labels == i).sum()) for i, name in enumerate(corrected.class_names)},
        splits=dict(splits),
        validation_fraction=manifest.validation_fraction,
        conflicts=[
            (corrected.path[one], corrected.path[other])
            for one, other in conflicting_copies(corrected)
        ],
        seconds=time.perf_counter() - started,
        engine=one.engine.name if one.engine and sum(one.embedded) else None,
        scan=seen.scan,
        part=part,
        dataset_images=seen.images,
        problems=[seen.problem] * bool(seen.problem) + [p for s in one.stores for p in s.problems],
        notes=seen.scan.notes
        + notes
        + ([one.engine.note] if one.engine and one.engine.note else []),
    )
