"""OpenVINO: equal bits, and converted models that are kept, found again and never believed."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
from engine_helpers import eager, pixels, relative, run, shallow, spec_of

from tlx.cache.spec import FeatureSpec
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.engines import openvino
from tlx.embed.engines.engine import EngineError
from tlx.embed.engines.openvino import (
    OpenVINOEngine,
    conversion_key,
    is_converted,
    require_precision,
)
from tlx.embed.engines.registry import load_engine
from tlx.embed.threads import limit_threads
from tlx.errors import StorageError, TlxError

SLOW = pytest.mark.slow
RECIPES = [
    ("vgg16", 64, {"layer": "block5_pool", "pooling": "flatten"}),
    pytest.param("mobilenetv2", 128, {"pooling": "avg+max"}, marks=SLOW),
    pytest.param("resnet50", 64, {}, marks=SLOW),
    pytest.param("inceptionv3", 150, {"layer": "mixed7"}, marks=SLOW),
    pytest.param("efficientnetv2b0", 64, {}, marks=SLOW),
]


@pytest.mark.parametrize(("name", "size", "fields"), RECIPES)
def test_recipes_that_people_copy_agree_with_eager_keras(name, size, fields, cache):
    backbone = get_backbone(name, "none")
    spec = spec_of(backbone, image_size=size, **fields)
    batch = pixels(2, size)
    expected = eager(backbone, spec, batch)
    assert np.isfinite(expected).all()
    assert expected.std() > 0
    engine = load_engine(backbone, spec)
    assert (engine.name, engine.note) == ("openvino", "")
    assert relative(engine(batch), expected) <= 1e-4


def test_features_are_the_same_bits_in_any_batch(cache, lite0):
    engine, batch = OpenVINOEngine(lite0, shallow(lite0)), pixels(7)
    whole = engine(batch)
    np.testing.assert_array_equal(np.concatenate([engine(batch[:3]), engine(batch[3:])]), whole)


def test_features_are_the_same_bits_with_any_number_of_threads(cache, lite0):
    batch = pixels(7)
    features = OpenVINOEngine(lite0, shallow(lite0))(batch)
    for threads in (1, 2, 3):
        limit_threads(threads)
        try:
            limited = OpenVINOEngine(lite0, shallow(lite0))
        finally:
            limit_threads(None)
        np.testing.assert_array_equal(limited(batch), features)


def test_a_stored_model_gives_the_same_bits(own_cache, lite0):
    assert not is_converted(shallow(lite0))
    fresh = OpenVINOEngine(lite0, shallow(lite0))(pixels(2))
    assert is_converted(shallow(lite0))
    np.testing.assert_array_equal(OpenVINOEngine(lite0, shallow(lite0))(pixels(2)), fresh)


def test_a_damaged_stored_model_is_built_again(own_cache, lite0):
    fresh = OpenVINOEngine(lite0, shallow(lite0))(pixels(2))
    (path,) = own_cache.rglob("*.ir")
    damaged = bytearray(path.read_bytes())
    damaged[-1000] ^= 1
    path.write_bytes(damaged)
    np.testing.assert_array_equal(OpenVINOEngine(lite0, shallow(lite0))(pixels(2)), fresh)
    assert path.read_bytes() != damaged


def test_works_where_the_cache_cannot_be_written(tmp_path, monkeypatch, lite0):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path / "file"))
    engine = OpenVINOEngine(lite0, shallow(lite0))
    assert "not kept" in engine.note
    assert engine(pixels(1)).shape == (1, 24)


def test_a_second_process_needs_no_tensorflow(cache, lite0):
    OpenVINOEngine(lite0, shallow(lite0))
    code = (
        "import sys, numpy\n"
        "from tlx.embed.backbones.registry import get_backbone\n"
        "from tlx.embed.engines.registry import load_engine\n"
        "from tlx.cache.spec import FeatureSpec\n"
        "b = get_backbone('efficientnet-lite0')\n"
        "s = FeatureSpec(b.name, b.weights_digest, b.preprocessing, 64, 'block2_add')\n"
        "print(load_engine(b, s)(numpy.zeros((1, 64, 64, 3), 'uint8')).shape)\n"
        "print(sorted({'tensorflow', 'keras', 'torch'} & set(sys.modules)))\n"
    )
    done = run(code)
    assert done.stdout.splitlines() == ["(1, 24)", "[]"]
    assert done.stderr == ""


def test_a_processor_without_bfloat16_is_told_so():
    class Core:
        def get_property(self, device, name):
            return ["FP32", "INT8"]

    with pytest.raises(TlxError, match="--precision float32"):
        require_precision(Core(), "bfloat16")


def test_key_covers_the_graph_and_nothing_else(lite0):
    key = conversion_key(spec_of(lite0))
    for other in ({"layer": "block4_add"}, {"pooling": "max"}, {"image_size": 96}):
        assert conversion_key(spec_of(lite0, **other)) != key
    for same in ({"view": 1}, {"fit": "crop"}, {"dtype": "float16"}, {"precision": "bfloat16"}):
        assert conversion_key(spec_of(lite0, **same)) == key


def test_what_was_converted_before_is_still_found(monkeypatch):
    """The key as the first version made it, of one spec and one set of versions."""
    versions = {"openvino": "2025.1", "keras": "3.1", "tensorflow": "2.19"}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    spec = FeatureSpec(
        "efficientnet-lite0", "ab" * 32, "(x-127)/128", image_size=64, layer="block2_add"
    )
    assert conversion_key(spec) == (
        "b365a4d3cc6cb65aeb54b8dc1cd338cd87c64c2cd799aac86a7625a1681dd6e9"
    )
    assert spec.fingerprint == "a09a9fe9e63942e298a17c111b072aed5cf48347ad3c0793c129770a5b0b5424"


def test_a_wrong_conversion_is_refused_and_not_kept(own_cache, monkeypatch, lite0):
    monkeypatch.setattr(openvino, "TOLERANCE", -1.0)  # as if the conversion were wrong
    with pytest.raises(EngineError, match="differs from TensorFlow's"):
        OpenVINOEngine(lite0, shallow(lite0))
    assert not list(own_cache.rglob("*.ir"))


def test_full_disk_is_a_note(tmp_path, monkeypatch, lite0):
    def full(key, model):
        raise StorageError("no space left.", "Free some space.")

    monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(openvino, "save_converted", full)
    assert "no space left" in OpenVINOEngine(lite0, shallow(lite0)).note
