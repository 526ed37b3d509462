"""Images that are the same, byte for byte, and have different labels: one label must be wrong."""

from __future__ import annotations

from collections.abc import Iterator

from .evidence import Evidence
from .finding import Finding, Flagged, Kind


def _find(evidence: Evidence) -> Iterator[Finding]:
    manifest = evidence.manifest
    first: dict[bytes, int] = {}
    images = []
    for row, digest in enumerate(manifest.digest_bytes()):
        if manifest.label[row] < 0 or not any(digest):
            continue
        other = first.setdefault(digest, row)
        if manifest.label[other] != manifest.label[row]:
            label = manifest.class_names[manifest.label[row]]
            images.append(Flagged(manifest.path[row], label, other=manifest.path[other]))
    if images:
        n = len(images)
        yield CONFLICT.finding(
            "grave",
            f"{n} image{'s are' if n > 1 else ' is'} the same file as one of another class.",
            "Give both one label, or leave them out.",
            value=float(n),
            images=tuple(images),
        )


CONFLICT = Kind("TLX102", "conflict", "the same image with different labels", _find)
KINDS = (CONFLICT,)
