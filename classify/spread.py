"""Heads fitted by the workers of a cluster, each of which reads the features by itself."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..embed.cluster import Cluster, map_cluster
from ..embed.clusters.pool import worker_name
from ..errors import DataError, FitError, TlxError
from ..progress import Progress
from ..workspace import Workspace
from .duplicates import handle_duplicates
from .heads.registry import heads
from .layers import load_candidates
from .scoring.crossval import Evaluation, evaluate_head
from .table import Features

# What one head fails of while others go on.
FAILURES = (TlxError, ImportError, MemoryError, ArithmeticError, np.linalg.LinAlgError)


@dataclass(frozen=True)
class Asked:
    """Of which rows of which workspace; see `tlx.fit_heads`.

    Attributes
    ----------
    workspace : str
        Absolute.
    dataset, features : str or None
    views, tta : int
    allow_missing : bool
    near_duplicates : str
    """

    workspace: str
    dataset: str | None
    features: str | None
    views: int
    tta: int
    allow_missing: bool
    near_duplicates: str


def evaluate_on(
    cluster: str | Cluster,
    asked: Asked,
    models: Mapping[str, Mapping[str, Any]],
    progress: Progress,
) -> dict[str, Evaluation | TlxError]:
    """Return what each head is worth, or why it could not be fitted.

    Parameters
    ----------
    cluster : str or Cluster
    asked : Asked
    models : dict of str to dict
        Options of `tlx.classify.scoring.crossval.evaluate_head` by name of the head.
    progress : Progress

    Raises
    ------
    DataError
        If a worker does not see the workspace.
    """
    costs = {model: heads()[model].cost for model in models}
    names = sorted(models, key=lambda model: -costs[model])  # the longest work first
    found: dict[str, Evaluation | TlxError] = {}
    items = [(name, dict(models[name])) for name in names]
    for index, value in map_cluster(cluster, evaluate_one, asked, items):
        found[names[index]] = value
        progress(sum(costs[name] for name in found), sum(costs.values()))
    return found


def evaluate_one(asked: Asked, item: tuple[str, dict[str, Any]]) -> Evaluation | TlxError:
    """Return what a head is worth, in a worker."""
    model, options = item
    table, *others = _tables(asked)
    try:
        return evaluate_head(table, model, others=others, **options)
    except FAILURES as error:
        return in_words(error)


def check_workspace(path: str) -> Workspace:
    """Return the workspace at a path.

    Raises
    ------
    DataError
        If this worker does not see it.
    """
    if not os.path.isdir(path):
        raise DataError(
            f"worker {worker_name()} does not see the workspace {path}.",
            "Let it lie where all workers see it under the same path, or leave out --cluster.",
        )
    return Workspace(path)


@functools.lru_cache(maxsize=1)
def _tables(asked: Asked) -> list[Features]:
    workspace = check_workspace(asked.workspace)
    tables = load_candidates(
        workspace,
        asked.dataset,
        asked.features,
        views=asked.views,
        tta=asked.tta,
        allow_missing=asked.allow_missing,
    )
    return handle_duplicates(workspace, tables, asked.near_duplicates)[0]


def in_words(error: Exception) -> TlxError:
    """Return why a head could not be fitted as an error of tlx; a MemoryError says nothing."""
    if isinstance(error, TlxError):
        return error
    if isinstance(error, MemoryError):
        return FitError("there is not enough memory to fit it.", "Close other programs.")
    return FitError(f"{type(error).__name__}: {error}".rstrip(": "))
