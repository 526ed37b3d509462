"""Fit a head on the cached features of a data set and keep it as a run."""

from __future__ import annotations

import os
from typing import Any

from ..workspace import Workspace
from .evaluate import evaluate_head
from .runs import Run, save_run
from .table import load_table


def fit_head(
    model: str = "logreg",
    *,
    dataset: str | None = None,
    features: str | None = None,
    views: int = 0,
    workspace: str | os.PathLike[str] = ".tlx",
    folds: int = 5,
    seed: int = 0,
    name: str | None = None,
    **params: Any,
) -> Run:
    """Fit a head on cached features, score it honestly, and keep it as a run.

    Parameters
    ----------
    model : str, default="logreg"
        A key of `tlx.classify.paths.GRIDS`.
    dataset : str, optional
        Name of the data set; by default the one embedded last.
    features : str, optional
        A backbone's name, or the first digits of a fingerprint; several joined by ``+`` put their
        features side by side. By default the spec embedded last.
    views : int, default=0
        Learn from so many augmented views of each image as well; only plain images are scored.
    workspace : path, default=".tlx"
    folds : int, default=5
        Folds of cross-validation, if the data set has no validation split.
    seed : int, default=0
        Of the folds.
    name : str, optional
        Of the run.
    **params
        Fixed parameters of the head.

    Returns
    -------
    Run

    Raises
    ------
    UnknownNameError
        If there is no such model, data set or fingerprint.
    DataError
        If nothing is embedded, there are no labels, features are missing, or a class has fewer
        images than folds.
    FitError
        If there is one class only.
    """
    place = Workspace(workspace)
    table = load_table(place, dataset, features, views=views)
    evaluation = evaluate_head(table, model, n_folds=folds, seed=seed, **params)
    return save_run(place, table, evaluation, seed=seed, name=name)
