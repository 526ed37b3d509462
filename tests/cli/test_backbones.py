"""``tlx backbones``: the list of networks."""

from __future__ import annotations

import json

from tlx.cli.backbones import as_text
from tlx.embed.backbones.family import BackboneRow
from tlx.embed.backbones.registry import list_backbones


def test_json_has_every_backbone(tlx):
    listed = json.loads(tlx("backbones", "--json").stdout)["backbones"]
    assert [row["name"] for row in listed] == [row.name for row in list_backbones()]
    assert listed[0]["name"] == "efficientnet-lite0"


def test_a_row_tells_size_features_parameters_and_weights():
    row = BackboneRow("small", 224, 1280, 3_413_024, "installed")
    line = as_text([row], []).splitlines()[1]
    assert line.split() == ["small", "224", "1280", "3.4", "million", "installed"]


def test_the_list_imports_no_network(python):
    python(
        "import sys\n"
        "from tlx.embed.backbones.registry import list_backbones\n"
        "assert list_backbones()\n"
        "assert not {'tensorflow', 'keras', 'openvino'} & set(sys.modules)\n"
    )


def test_what_has_no_row_is_named_below_the_table(tlx):
    last = tlx("backbones").stdout.splitlines()[-1]
    assert last == "Also: keras:FILE for a saved Keras model, hub:PRESET for a preset of KerasHub."
