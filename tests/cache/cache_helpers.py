"""What the tests of the cache share: specs, rows and stores that are a function of a number."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from tlx.cache.identity import canonical_json
from tlx.cache.manifest import Manifest
from tlx.cache.store import FeatureStore

SPEC = canonical_json({"backbone": "test", "dtype": "float32"})
OTHER_SPEC = canonical_json({"backbone": "other", "dtype": "float32"})
DIM = 16


def digest(number: int) -> bytes:
    return hashlib.sha256(b"image %d" % number).digest()


def feature(number: int, dim: int = DIM) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(dim).astype(np.float32)


def digests(numbers) -> list[bytes]:
    return [digest(n) for n in numbers]


def arrays(numbers, dim: int = DIM) -> tuple[np.ndarray, np.ndarray]:
    ids = np.frombuffer(b"".join(digests(numbers)), np.uint8).reshape(-1, 32)
    return ids, np.stack([feature(n, dim) for n in numbers])


def store_of(cache: Path, *shards, spec: str = SPEC) -> FeatureStore:
    """A store with one shard for each sequence of numbers."""
    store = FeatureStore(cache, spec)
    for numbers in shards:
        store.add_shard(*arrays(numbers))
    return store


def holds(store: FeatureStore, numbers) -> bool:
    """Whether the store has exactly these images, with the very features."""
    numbers = list(numbers)
    if store.digests() != set(digests(numbers)):
        return False
    return not numbers or np.array_equal(store.gather(digests(numbers)), arrays(numbers)[1])


def manifest_of(numbers, name: str = "data", root: str = "/data") -> Manifest:
    numbers = list(numbers)
    n = len(numbers)
    manifest = Manifest(
        name=name,
        root=root,
        class_names=("cat", "dog"),
        path=[f"{number}.jpg" for number in numbers],
        size=np.arange(n, dtype=np.int64),
        mtime_ns=np.arange(n, dtype=np.int64) + 10**18,
        label=np.array([number % 2 for number in numbers], np.int32),
        split=["train"] * n,
        group=[""] * n,
    )
    if n:
        manifest.digest = arrays(numbers)[0].copy()
    return manifest


def run_python(code: str, *arguments: object, timeout: float = 60, **options):
    """Run `code` in a process of its own, with this folder on its path."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n" + code,
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
        **options,
    )
