"""Converted models in the user's cache folder, so that a backbone is converted only once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final, NamedTuple

from ..cache.files import remove_stale_temporaries, write_atomic

# A file: magic, SHA-256 of all that follows, length of the XML (8 bytes), XML, weights.
# 1 is the first version; a file of another version is converted anew, never upgraded.
_MAGIC: Final = b"tlx-ir 1\n"
_DIGEST_END: Final = len(_MAGIC) + 32
_XML_START: Final = _DIGEST_END + 8


class Converted(NamedTuple):
    """An OpenVINO model as its two files: graph and weights."""

    xml: bytes
    weights: bytes


def user_cache_folder() -> Path:
    """Return where tlx keeps what it can make again, ``$TLX_CACHE_DIR`` if that is set."""
    if folder := os.environ.get("TLX_CACHE_DIR"):
        return Path(folder)
    import platformdirs

    return platformdirs.user_cache_path("tlx")


def load_converted(key: str) -> Converted | None:
    """Return the model stored under `key`, or None if there is none that is whole.

    Parameters
    ----------
    key : str
        Names everything that the conversion depends on; see `tlx.embed.engines.openvino`.
    """
    try:
        data = _path(key).read_bytes()
    except OSError:
        return None
    xml_end = _XML_START + int.from_bytes(data[_DIGEST_END:_XML_START], "little")
    body = memoryview(data)[_DIGEST_END:]
    whole = data.startswith(_MAGIC) and (
        hashlib.sha256(body).digest() == data[len(_MAGIC) : _DIGEST_END]
    )
    return Converted(data[_XML_START:xml_end], data[xml_end:]) if whole else None


def save_converted(key: str, model: Converted) -> Path:
    """Store a model under `key`, so that a crash leaves the old file or the new one.

    Raises
    ------
    StorageError
        If the cache folder refuses.
    """
    path = _path(key)
    body = len(model.xml).to_bytes(8, "little") + model.xml + model.weights
    write_atomic(path, _MAGIC + hashlib.sha256(body).digest() + body)
    remove_stale_temporaries(path.parent)
    return path


def _path(key: str) -> Path:
    return user_cache_folder() / "openvino" / f"{key}.ir"
