"""A workspace with two runs, which all tests of runs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlx.classify.fit import fit_head
from tlx.workspace import Workspace


@pytest.fixture
def two_runs(add_dataset, draw) -> Workspace:
    """Return a workspace with a linear head, ``centroid-1``, and one of neighbours, ``knn-1``."""
    place = add_dataset("drawn", *draw(40, 2))
    fit_head("centroid", workspace=place.root)
    fit_head("knn", workspace=place.root)
    return place


@pytest.fixture
def run(two_runs) -> Path:
    """Return the folder of the linear head."""
    return two_runs.runs / "centroid-1"
