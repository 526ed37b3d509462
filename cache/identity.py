"""What a stored feature is: the canonical text of a spec, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(fields: Mapping[str, Any]) -> str:
    """Return the one text that stands for `fields`: sorted keys, no spaces, ASCII only.

    Examples
    --------
    >>> canonical_json({"pooling": "avg", "layer": "last"})
    '{"layer":"last","pooling":"avg"}'
    """
    return json.dumps(
        fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def fingerprint_of(spec_json: str) -> str:
    """Return the SHA-256 of a canonical spec text, as 64 hexadecimal digits."""
    return hashlib.sha256(spec_json.encode("ascii")).hexdigest()


def digest_of(data: bytes) -> bytes:
    """Return the SHA-256 of an image file's bytes, as 32 bytes."""
    return hashlib.sha256(data).digest()
