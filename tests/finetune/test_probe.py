"""The probe spreads its candidates over the upper part, and takes one that is as good as any."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.classify.table import load_table
from tlx.embed.pipeline import embed_images
from tlx.finetune.probe import candidates, choose_by_probe
from tlx.lazy_imports import import_keras
from tlx.workspace import Workspace


def network(depth: int, weighted: bool = True):
    keras = import_keras()
    keras.utils.set_random_seed(0)
    x = pixels = keras.Input((32, 32, 3))
    for number in range(depth):
        layer = keras.layers.Conv2D(4, 3, padding="same") if weighted else keras.layers.ReLU()
        x = layer(x)
        x = keras.layers.ReLU(name=f"relu{number}")(x)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pool_avg")(x))


def test_candidates_are_at_most_eight_and_leave_something_frozen():
    found = candidates(network(20))
    assert len(found) == 8
    layers = [cut.layers for cut in found]
    assert layers == sorted(layers)
    assert layers[0] >= 1
    assert layers[-1] <= 0.8 * 40


def test_a_network_without_weights_has_one_candidate():
    assert len(candidates(network(2, weighted=False))) == 1


@pytest.fixture
def table(tmp_path, class_folders, grid):
    class_folders(tmp_path / "photos", {"ash": 10, "birch": 10})
    embed_images(tmp_path / "photos", workspace=tmp_path / "ws", engine=grid, image_size=32)
    return load_table(Workspace(tmp_path / "ws"))


def test_the_one_chosen_is_nearest_to_the_output_of_those_as_good_as_the_best(table):
    spec = FeatureSpec.from_json(table.sources[0]["spec"])
    done = []
    choice, rows = choose_by_probe(
        network(4), table, np.arange(20), spec, progress=lambda n, total: done.append((n, total))
    )
    assert done[-1] == (20, 20)
    best = min(rows, key=lambda row: row.log_loss)
    good = [row for row in rows if row.log_loss <= best.log_loss + best.error]
    assert [row.cut for row in rows if row.chosen] == [good[0].cut] == [choice.cut.name]
    assert choice.requested == "auto"
