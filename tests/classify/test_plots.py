"""Pictures are written whole, in the format that their name asks for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from tlx.classify.compare import compare_heads
from tlx.classify.fit import fit_head
from tlx.classify.plots import check_plot, plot_comparison
from tlx.errors import DataError, MissingExtraError


def test_comparison_becomes_a_png(add_dataset, draw, place, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    add_dataset("d", *draw(60))
    for C in (1e-4, 1.0):
        fit_head("logreg", workspace=place.root, grid={"C": [C]})
    path = tmp_path / "heads.png"
    plot_comparison(compare_heads(workspace=place.root), path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(2**20) or []) > 10
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["heads.png"]


@pytest.mark.parametrize("name", ["heads", "heads.docx", "heads.csv"])
def test_a_suffix_that_cannot_be_drawn_is_refused(name: str) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(DataError, match=f"{name} is no picture.*\nName it plot.png"):
        check_plot(name)


def test_without_matplotlib_the_command_that_installs_it_is_named(monkeypatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"matplotlib.*\n.*tlx-vision\[plot\]"):
        check_plot("a.png")
