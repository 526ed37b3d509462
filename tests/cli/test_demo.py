"""``tlx demo``: the main job on data that every installation has."""

from __future__ import annotations

import json

import pytest


def test_a_folder_that_cannot_be_written_is_named(tlx, tmp_path):
    (tmp_path / "file").touch()
    shown = tlx("demo", "file", code=1)
    assert "digits cannot be written: Not a directory." in shown.stderr
    assert "tlx demo DIR" in shown.stderr


@pytest.mark.slow
def test_demo_and_what_it_proposes(tlx, tmp_path):
    result = json.loads(tlx("demo", "trial", "--json").stdout)
    assert result["embed"]["images"] == 1797
    assert result["fit_head"]["metrics"]["accuracy"]["value"] > 0.9
    text = tlx("demo", "trial").stdout
    assert "0 embedded, 1797 reused" in text
    proposed = [line.split("tlx ", 1)[1] for line in text.splitlines() if line.startswith("  tlx")]
    for command in proposed[:2]:
        assert tlx(*command.split()).stdout
