"""A data set with its features as one Parquet file: for pandas, DuckDB and other tools of tables.

N images, D features, C classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._version import __version__
from ..errors import DataError, MissingExtraError
from ..reprs import readable
from .export import Exported
from .files import output_file
from .manifest import Manifest
from .store import FeatureStore

GROUP_BYTES = 64 * 2**20  # of features in a row group: bounds the memory


class HeldOut(NamedTuple):
    """What a run said of images that it had not learned from.

    Attributes
    ----------
    run : str
    class_names : tuple of C str
    digest : ndarray of shape (M, 32), uint8
    probabilities : ndarray of shape (M, C), float32
    """

    run: str
    class_names: tuple[str, ...]
    digest: np.ndarray
    probabilities: np.ndarray


def import_parquet() -> Any:
    """Return pyarrow with its Parquet part.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError.of("pyarrow", "pandas") from error
    return pyarrow


def export_parquet(
    cache: Path,
    manifest: Manifest,
    source: Mapping[str, str],
    path: str | os.PathLike[str],
    held_out: HeldOut | None = None,
) -> Exported:
    """Write the usable images of a manifest with their features, replacing the file whole.

    The columns are ``path``, ``label``, ``split`` and ``group``, text, with null for none, and
    ``features``, a list of D float32, a feature map row by row. With `held_out` there are
    ``predicted_label`` and ``probabilities``, a list of C float32, before them: null for images
    that the run was not scored on. What the lists mean is in the metadata ``tlx``, as JSON. It is
    written in row groups of 64 MiB, with memory for a few of them however many images there are.

    Parameters
    ----------
    cache : Path
        The folder that holds one folder a fingerprint.
    manifest : Manifest
    source : dict
        ``spec`` and ``fingerprint`` of the features.
    path : path
    held_out : HeldOut, optional

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    DataError
        If features are missing, or the run was scored on no image of the data set.
    StorageError
        If the file cannot be written. An older one is then still there.
    """
    pyarrow = import_parquet()
    part = manifest.subset(np.flatnonzero(manifest.usable))
    store, digests = FeatureStore(cache, source["spec"]), part.digest_bytes()
    store.check(digests)
    shape = store.feature_shape() or (0,)
    width = int(np.prod(shape))
    columns = {
        "path": pyarrow.array([readable(name) for name in part.path], pyarrow.string()),
        "label": _labels(pyarrow, part.class_names, part.label),
        "split": _texts(pyarrow, part.split),
        "group": _texts(pyarrow, part.group),
        **(_predicted(pyarrow, part, held_out) if held_out else {}),
    }
    schema = pyarrow.schema(
        [
            *((name, column.type) for name, column in columns.items()),
            ("features", pyarrow.list_(pyarrow.float32(), width)),
        ],
        metadata={"tlx": json.dumps(_about(part, source, shape, held_out))},
    )
    step = max(1, GROUP_BYTES // (4 * width or 1))
    with (
        output_file(path) as file,
        pyarrow.parquet.ParquetWriter(file, schema, use_dictionary=_repeated(columns)) as writer,
    ):
        for start in range(0, len(part), step):
            found = store.gather(digests[start : start + step]).astype(np.float32, copy=False)
            features = _lists(pyarrow, found.reshape(len(found), width))
            rows = [column.slice(start, len(found)) for column in columns.values()]
            writer.write_table(pyarrow.Table.from_arrays([*rows, features], schema=schema))
    return Exported(Path(path), part.name, source["fingerprint"], len(part), shape)


def _about(
    part: Manifest, source: Mapping[str, str], shape: tuple[int, ...], held_out: HeldOut | None
) -> dict[str, Any]:
    """Return what the columns alone do not tell."""
    return {
        "tlx": __version__,
        "dataset": part.name,
        "root": readable(part.root),
        "class_names": [readable(name) for name in part.class_names],
        "fingerprint": source["fingerprint"],
        "spec": source["spec"],
        "feature_shape": list(shape),
        "run": held_out.run if held_out else None,
        "probabilities": [readable(n) for n in held_out.class_names] if held_out else None,
    }


def _predicted(pyarrow: Any, part: Manifest, held_out: HeldOut) -> dict[str, Any]:
    """Return the columns of what a run said."""
    known = {bytes(one): row for row, one in enumerate(held_out.digest)}
    rows = np.array([known.get(one, -1) for one in part.digest_bytes()], np.int64)
    if not (rows >= 0).any():
        raise DataError(
            f"run {held_out.run} was scored on no image of data set {part.name!r}.",
            "Name a run of it, see tlx runs, or its data set with --dataset.",
        )
    best = np.where(rows < 0, -1, held_out.probabilities.argmax(1)[rows])
    lists = _lists(pyarrow, held_out.probabilities.astype(np.float32, copy=False))
    return {
        "predicted_label": _labels(pyarrow, held_out.class_names, best),
        "probabilities": lists.take(pyarrow.array(rows, mask=rows < 0)),
    }


def _lists(pyarrow: Any, values: np.ndarray) -> Any:
    """Return the rows of an array (n, D) as lists of one length."""
    flat = pyarrow.array(np.ascontiguousarray(values).reshape(-1))
    return pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _labels(pyarrow: Any, names: tuple[str, ...], label: np.ndarray) -> Any:
    texts = pyarrow.array([readable(name) for name in names], pyarrow.string())
    return texts.take(pyarrow.array(label.astype(np.int64), mask=label < 0))


def _texts(pyarrow: Any, texts: list[str]) -> Any:
    return pyarrow.array([readable(text) or None for text in texts], pyarrow.string())


def _repeated(columns: Mapping[str, Any]) -> list[str]:
    """Return the columns whose values occur again and again."""
    return [name for name in columns if name not in ("path", "probabilities")]
