"""Which engine is loaded, and that adding one is adding a file."""

from __future__ import annotations

import pytest
from engine_helpers import shallow

from tlx.embed.engines import openvino
from tlx.embed.engines.registry import engine_kinds, load_engine
from tlx.errors import TlxError, UnknownNameError

NEW = '''
"""Every feature is zero."""

import numpy as np

from .engine import EngineKind, check_batch


class ZeroEngine:
    name, output_shape, note = "zero", (4,), ""

    def __init__(self, backbone, spec):
        self.size = spec.image_size

    def __call__(self, batch):
        check_batch(batch, self.size)
        return np.zeros((len(batch), 4), np.float32)


KIND = EngineKind("zero", order=200, load=ZeroEngine)
'''


def test_each_kind_is_known_by_its_name():
    assert [kind.name for kind in engine_kinds().values()] == list(engine_kinds())
    assert "auto" not in engine_kinds()


def test_the_usual_one_is_openvino(cache, lite0):
    assert load_engine(lite0, shallow(lite0)).name == "openvino"


def test_auto_falls_back_to_tensorflow_and_says_why(own_cache, monkeypatch, lite0):
    monkeypatch.setattr(openvino, "TOLERANCE", -1.0)  # as if the conversion were wrong
    engine = load_engine(lite0, shallow(lite0))
    assert engine.name == "tensorflow"
    assert "differs from TensorFlow's" in engine.note
    assert not list(own_cache.rglob("*.ir"))


def test_asked_for_by_name_it_does_not_fall_back(own_cache, monkeypatch, lite0):
    monkeypatch.setattr(openvino, "TOLERANCE", -1.0)
    with pytest.raises(TlxError, match="--engine tensorflow"):
        load_engine(lite0, shallow(lite0), "openvino")


def test_an_unknown_engine_names_the_known_ones(lite0):
    with pytest.raises(UnknownNameError, match="openvino"):
        load_engine(lite0, shallow(lite0), "openvno")


def test_an_engine_is_added_by_adding_a_file(tmp_path, python):
    (tmp_path / "zero.py").write_text(NEW)
    python(
        f"""
import sys
import numpy as np
import tlx.embed.engines
tlx.embed.engines.__path__.append({str(tmp_path)!r})
from tlx.cache.spec import FeatureSpec
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.engines.registry import engine_kinds, load_engine
assert list(engine_kinds()) == ["openvino", "tensorflow", "zero"]
backbone = get_backbone("efficientnet-lite0", "none")
spec = FeatureSpec(backbone.name, backbone.weights_digest, backbone.preprocessing, 224)
assert load_engine(backbone, spec, "zero")(np.ones((3, 224, 224, 3), np.uint8)).shape == (3, 4)
assert not {{"tensorflow", "keras", "openvino"}} & set(sys.modules)
"""
    )
