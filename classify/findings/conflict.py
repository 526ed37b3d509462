"""Images that are the same, byte for byte, and have different labels: one label must be wrong."""

from __future__ import annotations

from collections.abc import Iterator

from ...cache.groups import conflicting_copies
from .evidence import Evidence
from .finding import Finding, Flagged, Kind


def _find(evidence: Evidence) -> Iterator[Finding]:
    manifest = evidence.manifest
    images = [
        Flagged(
            manifest.path[row],
            manifest.class_names[manifest.label[row]],
            other=manifest.path[other],
        )
        for other, row in conflicting_copies(manifest)
    ]
    if images:
        n = len(images)
        yield CONFLICT.finding(
            "grave",
            f"{n} image{'s are' if n > 1 else ' is'} the same file as one of another class.",
            "Give both one label, or leave them out.",
            value=float(n),
            images=tuple(images),
        )


CONFLICT = Kind(
    "TLX102", "conflict", "the same image with different labels", _find, needs_labels=True
)
KINDS = (CONFLICT,)
