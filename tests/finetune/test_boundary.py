"""Activations at the cut: their spec, their size, and each image once."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.classify.table import load_table
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.pipeline import embed_images
from tlx.errors import DataError
from tlx.finetune.boundary import Boundary, boundary_spec
from tlx.finetune.cut import Cut
from tlx.workspace import Workspace

CUT = Cut("somewhere", 3, 100, (4, 4, 3))


class Maps:
    """An engine without a network: the mean colours over a grid of 4 by 4 fields, as a map."""

    name, note, output_shape = "maps", "", CUT.shape

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.seen += len(batch)
        side = batch.shape[1] // 4
        return batch.reshape(len(batch), 4, side, 4, side, 3).mean((2, 4)).astype(np.float32)


@pytest.fixture
def workspace(tmp_path, class_folders, grid) -> Workspace:
    class_folders(tmp_path / "photos", {"ash": 5, "birch": 5})
    copied = tmp_path / "photos" / "ash" / "copy.png"
    copied.write_bytes((tmp_path / "photos" / "ash" / "0000.png").read_bytes())
    embed_images(tmp_path / "photos", workspace=tmp_path / "ws", engine=grid, image_size=32)
    return Workspace(tmp_path / "ws")


def boundary(workspace: Workspace, engine: Maps | None = None) -> Boundary:
    table = load_table(workspace)
    spec = FeatureSpec.from_json(table.sources[0]["spec"])
    backbone = get_backbone("efficientnet-lite0")
    return Boundary(workspace, table, backbone, spec, CUT, engine=engine or Maps())


def test_the_spec_differs_in_nothing_but_the_place_and_the_type():
    spec = FeatureSpec("net", "0" * 64, "none", 32)
    at_cut = boundary_spec(spec, CUT)
    assert set(at_cut.difference(spec)) == {"layer", "pooling", "dtype"}
    assert (at_cut.layer, at_cut.pooling, at_cut.dtype) == ("somewhere", "none", "float16")


def test_each_distinct_image_is_computed_once(workspace):
    engine = Maps()
    first = boundary(workspace, engine)
    assert first.row_bytes == 4 * 4 * 3 * 2
    first.compute(first.missing(range(11)))
    assert engine.seen == first.computed == 10
    assert boundary(workspace).missing(range(11)) == []
    assert boundary(workspace).stored(range(11)) == 10


def test_what_is_read_is_what_was_computed(workspace):
    made = boundary(workspace)
    made.compute(made.missing(range(11)))
    rows = made.reader([3, 0, 3]).read([0, 1, 2])
    assert rows.shape == (3, *CUT.shape)
    assert np.array_equal(rows[0], rows[2])
    assert not np.array_equal(rows[0], rows[1])


def test_too_much_space_is_refused_with_what_would_allow_it(workspace):
    made = boundary(workspace)
    with pytest.raises(DataError, match="more than the 1e-07 GB allowed") as told:
        made.check_space(made.missing(range(11)), 100)
    assert "--max-cache-gb 1" in told.value.remedy


def test_an_image_that_changed_since_is_named(workspace, picture):
    made = boundary(workspace)
    path = workspace.root.parent / "photos" / "birch" / "0003.png"
    path.write_bytes(picture("other"))
    with pytest.raises(DataError, match=r"0003\.png has changed since it was embedded"):
        made.compute(made.missing(range(11)))
