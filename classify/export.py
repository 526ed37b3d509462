"""A data set with its features, and what a run says of it, for programs that do not know tlx."""

from __future__ import annotations

import os
from typing import Literal

from ..cache.export import Exported, export_file
from ..cache.parquet import HeldOut, export_parquet, import_parquet
from ..errors import DataError
from ..workspace import Workspace
from .runs.best import best_run, load_run
from .sources import choose_sources, mean_views


def export_features(
    workspace: Workspace,
    path: str | os.PathLike[str],
    dataset: str | None = None,
    spec: str | None = None,
    *,
    format: Literal["hdf5", "parquet"] = "hdf5",
    run: str | None = None,
) -> Exported:
    """Write the features of a data set as one plain file, replacing it whole.

    See `tlx.cache.export.export_file` and `tlx.cache.parquet.export_parquet` for what it holds.

    Parameters
    ----------
    workspace : Workspace
    path : path
    dataset : str, optional
        By default the one embedded last.
    spec : str, optional
        A backbone's name or the first digits of a fingerprint; by default the one embedded last.

    format : {"hdf5", "parquet"}, default="hdf5"
    run : str, optional
        Only for Parquet: what this run, or the ``"best"``, said of images held out.

    Raises
    ------
    MissingExtraError
        If there is no pyarrow for Parquet.
    DataError
        If features are missing, or the run was scored on none of the images.
    UnknownNameError
        If there is no such data set, spec or run.
    StorageError
        If the file cannot be written. An older one is then still there.
    """
    if format == "parquet":
        import_parquet()
    elif run is not None:
        raise DataError("an HDF5 file has no predictions.", "Use --format parquet with --run.")
    manifest = workspace.load_manifest(dataset)
    sources = choose_sources(manifest, spec)
    if len(sources) > 1 or any(map(mean_views, sources)):
        raise DataError(
            f"{spec!r} names several kinds of features.", "Export them one after the other."
        )
    if format == "hdf5":
        return export_file(workspace.cache, manifest, sources[0], path)
    said = None if run is None else _held_out(workspace, manifest.name, run)
    return export_parquet(workspace.cache, manifest, sources[0], path, said)


def _held_out(workspace: Workspace, dataset: str, name: str) -> HeldOut:
    run = best_run(workspace, dataset) if name == "best" else load_run(name, workspace.root)
    scored = run.predictions()
    return HeldOut(run.id, run.class_names, scored.digest, scored.probabilities)
