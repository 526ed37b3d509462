"""``tlx embed --cluster``."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def folder(tmp_path, class_folders):
    class_folders(tmp_path / "data", {"amber": 12, "blue": 12})
    return tmp_path


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("processes:0", "'processes:0' names no number of processes."),
        ("processes:x", "'processes:x' names no number of processes."),
        ("slurm:4", "unknown cluster: 'slurm:4'."),
    ],
)
def test_a_wrong_address_is_one_line_and_one_of_advice(tlx, folder, address, told):
    found = tlx("embed", "data", "--cluster", address, code=1)
    assert found.stderr.splitlines()[0] == f"Error: {told}"
    assert len(found.stderr.splitlines()) == 2
    assert not (folder / ".tlx").exists()


def test_a_part_is_not_shared(tlx, folder):
    found = tlx("embed", "data", "--part", "1/2", "--cluster", "processes:2", code=1)
    assert "Leave out --part or --cluster." in found.stderr


def test_features_are_returned_by_a_cluster_only(tlx, folder):
    found = tlx("embed", "data", "--return-features", code=2)
    assert "--cluster" in found.stderr


def test_processes_embed_what_one_does(tlx, folder, real_project):
    found = tlx("embed", "data", "--cluster", "processes:2", "--return-features", "--json")
    result = json.loads(found.stdout)
    assert (result["embedded"], result["engine"]) == (24, real_project.embedded["engine"])
    assert result["fingerprint"] == real_project.embedded["fingerprint"]
