"""Cuts: where one tensor crosses, and that trunk and top together are the whole."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.embed.backbones.registry import get_backbone
from tlx.errors import FitError, UnknownNameError
from tlx.finetune.cut import INPUT, choose_cut, find_cuts, split
from tlx.lazy_imports import import_keras


@pytest.fixture(scope="module")
def keras():
    return import_keras()


@pytest.fixture(scope="module")
def residual(keras):
    """Return conv1, relu1, then a block of conv2 and conv3 with a shortcut, then conv4."""
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv1")(pixels)
    short = keras.layers.ReLU(name="relu1")(x)
    x = keras.layers.Conv2D(4, 3, padding="same", name="block2_conv")(short)
    x = keras.layers.Conv2D(4, 3, padding="same", name="block2_last")(x)
    x = keras.layers.Add(name="block2_add")([x, short])
    return keras.Model(pixels, keras.layers.Conv2D(5, 3, name="conv4")(x), name="residual")


def test_no_cut_goes_through_a_residual_block(residual):
    names = [cut.name for cut in find_cuts(residual)]
    assert names == ["conv4", "block2_add", "relu1", "conv1", INPUT]


def test_a_count_snaps_towards_the_input_and_says_so(residual):
    choice = choose_cut(residual, 2)
    assert (choice.cut.name, choice.cut.layers) == ("relu1", 4)
    assert choice.text == "2 layers -> 4, at `relu1`"


def test_a_count_that_fits_is_not_snapped(residual):
    assert choose_cut(residual, 1).text == "1 layer, at `block2_add`"


def test_a_layer_by_name_is_trained_and_all_above_it(residual):
    assert choose_cut(residual, "conv4").cut.name == "block2_add"
    assert choose_cut(residual, "block2_last").cut.name == "relu1"


def test_a_block_by_name_is_trained_from_its_first_layer(residual):
    choice = choose_cut(residual, "block2")
    assert choice.text == "`block2` -> 4 layers, at `relu1`"


def test_all_means_every_layer(residual):
    assert choose_cut(residual, "all").cut == find_cuts(residual)[-1]


@pytest.mark.parametrize("count", [-3, 0, 7, 2000])
def test_a_count_that_is_not_there_is_refused_with_those_that_are(residual, count):
    with pytest.raises(
        FitError, match=f"{count} layers cannot be trained: the network has 6"
    ) as told:
        choose_cut(residual, count)
    assert "--unfreeze 1 to 6" in told.value.remedy


def test_an_unknown_name_suggests_near_ones(residual):
    with pytest.raises(UnknownNameError, match="block2"):
        choose_cut(residual, "blok2")


def test_parameters_are_those_that_training_could_change(residual):
    conv4 = 3 * 3 * 4 * 5 + 5
    assert [cut.parameters for cut in find_cuts(residual)[:2]] == [0, conv4]


def test_a_model_within_the_model_is_not_cut(keras, residual):
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255, name="scaled")(pixels)
    model = keras.Model(pixels, residual(x))
    choice = choose_cut(model, 1)
    assert choice.cut.name == "scaled"
    assert choice.cut.layers == 6
    whole = choose_cut(model, 7)
    assert "'residual' is a model within the model" in whole.text


def test_a_subclassed_model_can_only_be_trained_whole(keras):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = keras.layers.Conv2D(2, 3)

        def call(self, x):
            return self.conv(x)

    model = Own()
    model(np.zeros((1, 8, 8, 3), np.float32))
    choice = choose_cut(model, 1)
    assert choice.cut.name == INPUT
    assert "no graph of layers" in choice.text


def test_a_layer_used_on_both_sides_is_no_place_to_cut(keras):
    pixels = keras.Input((8, 8, 3))
    shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
    x = keras.layers.ReLU(name="between")(shared(pixels))
    model = keras.Model(pixels, keras.layers.ReLU(name="last")(shared(x)))
    assert [cut.name for cut in find_cuts(model)] == ["last", "shared", INPUT]


FAST = ("efficientnet-lite0",)
SLOW = (
    "mobilenetv2",
    "resnet50",
    "efficientnetv2b0",
    "convnexttiny",
    "densenet121",
    "vgg16",
    "inceptionv3",
)


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_trunk_then_top_is_the_whole(name):
    model = get_backbone(name, "none").build(96)
    images = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype(np.float32)
    whole = np.asarray(model(images, training=False))
    cuts = find_cuts(model)
    twenty = choose_cut(model, min(20, cuts[-1].layers)).cut  # vgg16 has 19
    for cut in (cuts[0], twenty, cuts[len(cuts) // 2], cuts[-1]):
        trunk, top = split(model, cut)
        boundary = images if trunk is None else np.asarray(trunk(images, training=False))
        assert boundary.shape[1:] == cut.shape
        difference = np.abs(np.asarray(top(boundary, training=False)) - whole).max()
        assert difference <= 1e-5 * max(1.0, float(np.abs(whole).max())), cut
