"""Workspaces with features that were drawn, not computed: a data set in milliseconds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlx.cache.manifest import Manifest
from tlx.cache.spec import FeatureSpec
from tlx.classify.table import Features
from tlx.workspace import Workspace

MakeDataset = Callable[..., Workspace]


def blobs(
    n: int, classes: int = 2, dim: int = 8, spread: float = 2.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, dim) around one centre a class, and their classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    return (centres[y] + rng.normal(0, spread, (n, dim))).astype(np.float32), y


def digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / ".tlx")


@pytest.fixture
def add_dataset(place: Workspace) -> MakeDataset:
    """Return a function that puts features and labels into the workspace as a data set."""

    def add(
        name: str,
        X: np.ndarray,
        y: Sequence[int] | np.ndarray,
        *,
        split: Sequence[str] | None = None,
        digests: Sequence[bytes] | None = None,
        class_names: Sequence[str] = ("ant", "bee", "cat", "dog"),
        backbone: str = "drawn",
        thumbs: np.ndarray | None = None,
    ) -> Workspace:
        from tlx.cache.store import FeatureStore

        spec = FeatureSpec(backbone, "random:0", "none", 8)
        n = len(X)
        digests = digests or [digest(name, i) for i in range(n)]
        with FeatureStore(place.cache, spec.json).writer() as writer:
            for one, feature in dict(zip(digests, X, strict=True)).items():
                writer.add(one, feature)
        used = max(y) + 1
        manifest = Manifest(
            name=name,
            root=f"/nowhere/{name}",
            class_names=tuple(class_names[:used]),
            path=[f"{class_names[c]}/{i}.png" for i, c in enumerate(y)],
            size=np.ones(n, np.int64),
            mtime_ns=np.ones(n, np.int64),
            label=np.asarray(y, np.int32),
            split=list(split or [""] * n),
            group=[""] * n,
            digest=np.frombuffer(b"".join(digests), np.uint8).reshape(n, 32),
            width=np.ones(n, np.int32),
            height=np.ones(n, np.int32),
            error=[""] * n,
        )
        if thumbs is not None:
            manifest.pictures["thumb"], manifest.pictures["brightness"] = thumbs, 0.5
        manifest.record_source(spec.fingerprint, spec.json, "none")
        manifest.save(place.manifest_path(name))
        return place

    return add


@pytest.fixture
def make_table() -> Callable[..., Features]:
    """Return a function that makes a feature table without a workspace."""

    def make(X: np.ndarray, y: np.ndarray, groups: Any = None, split: Any = None) -> Features:
        n = len(y)
        names = tuple(f"class {c}" for c in range(int(y.max()) + 1))
        ids = [digest(i) for i in range(n)]
        return Features(
            X=np.asarray(X, np.float32),
            y=np.asarray(y, np.int64),
            split=np.array([""] * n if split is None else split),
            groups=np.arange(n) if groups is None else np.asarray(groups),
            digest=np.frombuffer(b"".join(ids), np.uint8).reshape(n, 32),
            paths=[f"{i}.png" for i in range(n)],
            class_names=names,
            dataset="drawn",
            root="/nowhere",
            sources=[{"fingerprint": "0" * 64, "spec": "{}", "weights": "none"}],
        )

    return make


@pytest.fixture
def draw_thumbs() -> Callable[..., np.ndarray]:
    """Return a function that draws small pictures (n, 16, 16) uint8 of nothing in common."""

    def make(n: int, seed: int = 0) -> np.ndarray:
        fields = np.random.default_rng(seed).integers(0, 200, (n, 8, 8))
        return np.kron(fields, np.ones((2, 2))).astype(np.uint8)

    return make


@pytest.fixture
def draw() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return blobs


@pytest.fixture
def scaled():
    """Features (N, D) as heads see them, scaled by the rows `by`; in float64."""

    def scale(X: np.ndarray, by: np.ndarray | None = None) -> np.ndarray:
        by = (X if by is None else by).astype(np.float64)
        std = by.std(axis=0)
        return (X - by.mean(axis=0)) / np.sqrt(std * std.mean())

    return scale


class Counted(np.ndarray):
    """Features that count how often each row is taken out of them."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(key, slice | np.ndarray) and hasattr(self, "taken"):
            self.taken[key] += 1
        return np.asarray(found)


@pytest.fixture
def counted() -> Callable[[np.ndarray], Any]:
    """Return a function that copies features (N, D) so that ``taken`` (N,) counts their reads."""

    def make(X: np.ndarray) -> Any:
        copy = X.copy().view(Counted)
        copy.taken = np.zeros(len(X), int)  # type: ignore[attr-defined]
        return copy

    return make
