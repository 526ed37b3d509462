"""A made-up data set of any size, written through the real store: features, manifest and files.

The features are vectors that a linear head tells about 80% right: ten class means, and noise whose
spectrum falls like that of embeddings of photos. The files are tiny, and many names share one of
them: what they look like matters to nobody, their names, sizes and times do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np

from tlx.cache.manifest import Manifest
from tlx.cache.store import FeatureStore
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.dataset import scan
from tlx.embed.pipeline import make_spec
from tlx.embed.splits import split_by_digest
from tlx.workspace import Workspace

BACKBONE = "efficientnet-lite0"
CLASSES = 10
VALIDATION = 0.2
SEPARATION = 2.45  # of class means, in deviations of the noise: the best head is right in 80%
_SPECTRUM = 256  # directions that hold nearly all of the variance
_CHUNK = 8192  # rows drawn at a time
_NAMES_A_FILE = 50_000  # ext4 allows 65,000


def digests_of(rows: np.ndarray) -> np.ndarray:
    """Return made-up digests of the images `rows`, shape (N, 32) uint8."""
    joined = b"".join(hashlib.sha256(b"image %d" % row).digest() for row in rows.tolist())
    return np.frombuffer(joined, np.uint8).reshape(-1, 32)


def labels_of(n: int) -> np.ndarray:
    """Return the class of each image; as in folders, one class follows the other."""
    return (np.arange(n) * CLASSES // n).astype(np.int32)


class Features:
    """Draws the features of any rows, always the same ones."""

    def __init__(self, n: int, dim: int, seed: int = 0) -> None:
        rng = np.random.default_rng((seed, dim))
        rank = min(_SPECTRUM, dim)
        directions = np.linalg.qr(rng.standard_normal((dim, rank)))[0].T
        scale = np.arange(1, rank + 1) ** -0.5  # variances fall with the rank of the direction
        means = rng.standard_normal((CLASSES, rank)) * np.arange(1, rank + 1) ** -0.25
        means *= SEPARATION / np.linalg.norm(means, axis=1, keepdims=True)
        self._mixing = (scale[:, None] * directions * np.sqrt(dim)).astype(np.float32)
        self._means = means.astype(np.float32)
        self._floor = np.float32(0.3 * scale[-1])
        self._labels, self._seed, self._dim = labels_of(n), seed, dim

    def chunk(self, start: int) -> np.ndarray:
        """Return the next rows from `start` on, which is a multiple of `_CHUNK`."""
        labels = self._labels[start : start + _CHUNK]
        rng = np.random.default_rng((self._seed, start, 1))
        latent = rng.standard_normal((len(labels), len(self._mixing)), np.float32)
        rows = (latent + self._means[labels]) @ self._mixing
        return rows + self._floor * rng.standard_normal((len(labels), self._dim), np.float32)


def write_files(folder: Path, n: int) -> None:
    """Make `n` tiny images in folders of their classes."""
    labels = labels_of(n)
    for name in range(CLASSES):
        (folder / f"class_{name}").mkdir(parents=True)
    original = ""
    for row, label in enumerate(labels.tolist()):
        path = f"{folder}/class_{label}/{row:08d}.png"
        if row % _NAMES_A_FILE:
            os.link(original, path)
        else:
            original = path
            Path(path).write_bytes(_png())


def write_store(workspace: Workspace, images: Path, n: int, dim: int) -> None:
    """Write features and manifest of the `n` files in `images`, as `tlx embed` would."""
    network = get_backbone(BACKBONE)
    spec = make_spec(network)
    draw = Features(n, dim)
    with FeatureStore(workspace.cache, spec.json).writer() as writer:
        for start in range(0, n, _CHUNK):
            rows = draw.chunk(start)
            digests = digests_of(np.arange(start, start + len(rows)))
            for digest, row in zip(digests, rows, strict=True):
                writer.add(digest.tobytes(), row)
    manifest = scan(images, images.name).manifest
    describe(manifest)
    manifest.record_source(spec.fingerprint, spec.json, network.weights)
    split_by_digest(manifest, VALIDATION, 0)
    manifest.save(workspace.manifest_path(manifest.name))


def describe(manifest: Manifest) -> None:
    """Write made-up digests and looks into a manifest."""
    n = len(manifest)
    rng = np.random.default_rng((n, 2))
    manifest.digest = digests_of(np.arange(n)).copy()
    manifest.width, manifest.height = rng.integers(200, 1000, (2, n), np.int32)
    pictures = manifest.pictures.copy()
    for name in ("brightness", "contrast", "sharpness", "colourfulness", "uniformity"):
        pictures[name] = rng.beta(4, 6, n)
    pictures["shadows"] = pictures["brightness"] * 0.3
    pictures["highlights"] = 1 - (1 - pictures["brightness"]) * 0.3
    pictures["format"] = b"PNG"
    pictures["thumb"] = rng.integers(0, 256, pictures["thumb"].shape, np.uint8)
    manifest.pictures = pictures


def make(folder: Path, n: int, dim: int) -> None:
    """Make workspace `folder` and, beside it, the images ``folder-images``; complete or not at all.

    Nothing is done if they are there.
    """
    if folder.exists():
        return
    images = folder.with_name(f"{folder.name}-images")
    aside = folder.with_name(f"{folder.name}.tmp")
    for left in (images, aside):
        shutil.rmtree(left, ignore_errors=True)
    write_files(images, n)
    write_store(Workspace(aside), images, n, dim)
    aside.rename(folder)


def _png() -> bytes:
    """Return a grey picture of 8 by 8 pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(range(16 * y, 16 * y + 8)) for y in range(8)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
