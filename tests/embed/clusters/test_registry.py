"""All kinds of cluster."""

from __future__ import annotations

import pytest

from tlx.embed.clusters.processes import Processes
from tlx.embed.clusters.registry import cluster_kinds, find_cluster
from tlx.errors import UnknownNameError


def test_each_kind_is_a_file_and_says_how_it_is_typed():
    assert all(kind.form.startswith(f"{name}:") for name, kind in cluster_kinds().items())


def test_what_is_found_is_opened_when_it_is_called():
    opened = find_cluster("processes:3")()
    assert isinstance(opened, Processes)
    assert opened.slots == 3


def test_an_unknown_scheme():
    with pytest.raises(UnknownNameError, match=r"unknown cluster: 'slurm://a'"):
        find_cluster("slurm://a")
