"""Features of a data set as one plain HDF5 file, for programs that do not know tlx."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .._version import __version__
from ..reprs import readable
from .files import write_output
from .hdf5 import file_image, memory_file
from .manifest import Manifest
from .store import FeatureStore


@dataclass
class Exported:
    """What an export holds."""

    path: Path
    dataset: str
    fingerprint: str
    images: int
    shape: tuple[int, ...]


def export_file(
    cache: Path, manifest: Manifest, source: Mapping[str, str], path: str | os.PathLike[str]
) -> Exported:
    """Write the features that the usable images of a manifest have, replacing the file whole.

    It has ``features`` (N, …), ``path`` (N,) and ``split`` (N,) text in UTF-8, ``label`` (N,) int32
    with -1 for none, and ``class_names`` (C,) text, and needs no tlx to be read. The file is built
    in memory: three times the size of the features is needed.

    Parameters
    ----------
    cache : Path
        The folder that holds one folder a fingerprint.
    manifest : Manifest
    source : dict
        ``spec`` and ``fingerprint`` of the features.
    path : path

    Raises
    ------
    DataError
        If features are missing.
    StorageError
        If the file cannot be written. An older one is then still there.
    """
    part = manifest.subset(np.flatnonzero(manifest.usable))
    features = FeatureStore(cache, source["spec"]).gather(part.digest_bytes())
    with memory_file() as file:
        file.create_dataset("features", data=features)
        file.create_dataset("label", data=part.label)
        for name in ("path", "split", "class_names"):
            _write_text(file, name, getattr(part, name))
        file.attrs.update(
            {
                "dataset": part.name,
                "root": readable(part.root),
                "spec": source["spec"],
                "fingerprint": source["fingerprint"],
                "tlx": __version__,
            }
        )
        data = file_image(file)
    write_output(path, data)
    return Exported(Path(path), part.name, source["fingerprint"], len(part), features.shape[1:])


def _write_text(file: Any, name: str, texts: Iterable[str]) -> None:
    """Write strings of variable length, which every HDF5 program shows as text."""
    values = [readable(text) for text in texts]
    column = file.create_dataset(name, len(values), h5py.string_dtype())
    if values:
        column[:] = values
