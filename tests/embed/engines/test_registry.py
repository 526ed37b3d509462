"""One conformance suite for both engines, and what only one of them does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.embed.backbones.registry import Backbone, feature_model, get_backbone
from tlx.embed.engines import registry as engines
from tlx.embed.engines.registry import OpenVINOEngine, conversion_key, load_engine
from tlx.errors import StorageError, TlxError, UnknownNameError

SIZE = 64
ENGINES = ("tensorflow", "openvino")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Keep converted models of one module together, away from the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    patch = pytest.MonkeyPatch()
    patch.setenv("TLX_CACHE_DIR", str(folder))
    yield folder
    patch.undo()


def spec_of(backbone: Backbone, **fields) -> FeatureSpec:
    names = {"image_size": SIZE, **fields}
    return FeatureSpec(backbone.name, backbone.weights_digest, backbone.preprocessing, **names)


def pixels(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8)


def eager(backbone: Backbone, spec: FeatureSpec, batch: np.ndarray) -> np.ndarray:
    """The features by Keras, layer by layer, past all tracing and conversion."""
    return np.asarray(feature_model(backbone, spec)(batch.astype(np.float32), training=False))


def relative(values: np.ndarray, reference: np.ndarray) -> float:
    return float(np.abs(values - reference).max() / np.abs(reference).max())


def cosines(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (values, reference))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def has_bfloat16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "bf16" in cpuinfo.read_text()


@pytest.fixture(scope="module")
def lite0():
    return get_backbone("efficientnet-lite0")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, cache, lite0):
    return load_engine(lite0, spec_of(lite0), request.param)


class TestEveryEngine:
    def test_agrees_with_eager_keras(self, engine, lite0):
        batch = pixels(3)
        assert relative(engine(batch), eager(lite0, spec_of(lite0), batch)) <= 1e-4

    def test_gives_float32_of_its_shape(self, engine):
        features = engine(pixels(2))
        assert features.dtype == np.float32
        assert features.shape == (2, *engine.output_shape) == (2, 1280)

    def test_features_do_not_depend_on_the_batch(self, engine):
        batch = pixels(9)
        whole = engine(batch)
        for size in (1, 2, 4, 5):
            parts = [engine(batch[i : i + size]) for i in range(0, 9, size)]
            np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-4, atol=1e-4)

    def test_takes_an_empty_batch(self, engine):
        assert engine(pixels(0)).shape == (0, 1280)

    def test_takes_a_view_of_a_larger_array(self, engine):
        batch = pixels(4)
        np.testing.assert_allclose(engine(batch[::2, :, ::-1]), engine(batch[::2, :, ::-1].copy()))

    @pytest.mark.parametrize(
        "batch",
        [pixels(2).astype(np.float32), pixels(2, 32), pixels(1)[0], pixels(2)[..., :1]],
        ids=["float", "size", "no batch", "grey"],
    )
    def test_refuses_anything_but_uint8_of_its_size(self, engine, batch):
        with pytest.raises(ValueError, match=r"must be uint8 \(B, 64, 64, 3\)"):
            engine(batch)

    def test_has_nothing_to_tell(self, engine):
        assert engine.note == ""


@pytest.mark.parametrize("name", ENGINES)
def test_feature_maps_keep_their_shape(name, cache, lite0):
    spec = spec_of(lite0, layer="block4_add", pooling="none")
    engine = load_engine(lite0, spec, name)
    batch = pixels(3)
    assert engine(batch).shape == (3, 8, 8, 40)
    assert relative(engine(batch), eager(lite0, spec, batch)) <= 1e-4


@pytest.mark.parametrize("name", ENGINES)
def test_bfloat16_keeps_the_direction_of_features(name, cache, lite0):
    if not has_bfloat16():
        pytest.skip("this processor does not compute in bfloat16")
    engine = load_engine(lite0, spec_of(lite0, precision="bfloat16"), name)
    batch = pixels(3)
    features = engine(batch)
    assert cosines(features, eager(lite0, spec_of(lite0), batch)).min() >= 0.99
    assert relative(features, eager(lite0, spec_of(lite0), batch)) > 1e-4, "it computed in float32"


SLOW = pytest.mark.slow
RECIPES = [
    ("vgg16", 64, {"layer": "block5_pool", "pooling": "flatten"}),
    ("mobilenetv2", 128, {"pooling": "avg+max"}),
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


def shallow(backbone: Backbone) -> FeatureSpec:
    """The first blocks only, which convert quickly."""
    return spec_of(backbone, layer="block2_add")


class TestOpenVINO:
    def test_is_the_default(self, cache, lite0):
        assert load_engine(lite0, shallow(lite0)).name == "openvino"

    def test_features_are_the_same_bits_in_any_batch(self, cache, lite0):
        engine, batch = OpenVINOEngine(lite0, shallow(lite0)), pixels(7)
        whole = engine(batch)
        np.testing.assert_array_equal(np.concatenate([engine(batch[:3]), engine(batch[3:])]), whole)

    def test_a_stored_model_gives_the_same_bits(self, tmp_path, monkeypatch, lite0):
        monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path))
        fresh = OpenVINOEngine(lite0, shallow(lite0))(pixels(2))
        np.testing.assert_array_equal(OpenVINOEngine(lite0, shallow(lite0))(pixels(2)), fresh)

    def test_a_damaged_stored_model_is_built_again(self, tmp_path, monkeypatch, lite0):
        monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path))
        fresh = OpenVINOEngine(lite0, shallow(lite0))(pixels(2))
        (path,) = tmp_path.rglob("*.ir")
        damaged = bytearray(path.read_bytes())
        damaged[-1000] ^= 1
        path.write_bytes(damaged)
        np.testing.assert_array_equal(OpenVINOEngine(lite0, shallow(lite0))(pixels(2)), fresh)
        assert path.read_bytes() != damaged

    def test_works_where_the_cache_cannot_be_written(self, tmp_path, monkeypatch, lite0):
        (tmp_path / "file").touch()
        monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path / "file"))
        engine = OpenVINOEngine(lite0, shallow(lite0))
        assert "not kept" in engine.note
        assert engine(pixels(1)).shape == (1, 24)

    def test_a_second_process_needs_no_tensorflow(self, cache, lite0):
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

    def test_auto_falls_back_to_tensorflow_and_says_why(self, tmp_path, monkeypatch, lite0):
        monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(engines, "TOLERANCE", -1.0)  # as if the conversion were wrong
        engine = load_engine(lite0, shallow(lite0))
        assert engine.name == "tensorflow"
        assert "differs from TensorFlow's" in engine.note
        assert not list(tmp_path.rglob("*.ir"))

    def test_asked_for_by_name_it_does_not_fall_back(self, tmp_path, monkeypatch, lite0):
        monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(engines, "TOLERANCE", -1.0)
        with pytest.raises(TlxError, match="--engine tensorflow"):
            load_engine(lite0, shallow(lite0), "openvino")

    def test_a_processor_without_bfloat16_is_told_so(self):
        class Core:
            def get_property(self, device, name):
                return ["FP32", "INT8"]

        with pytest.raises(TlxError, match="--precision float32"):
            engines.require_precision(Core(), "bfloat16")


def test_key_covers_the_graph_and_nothing_else(lite0):
    key = conversion_key(spec_of(lite0))
    for other in ({"layer": "block4_add"}, {"pooling": "max"}, {"image_size": 96}):
        assert conversion_key(spec_of(lite0, **other)) != key
    for same in ({"view": 1}, {"fit": "crop"}, {"dtype": "float16"}, {"precision": "bfloat16"}):
        assert conversion_key(spec_of(lite0, **same)) == key


def test_unknown_engine_names_the_known_ones(lite0):
    with pytest.raises(UnknownNameError, match="openvino"):
        load_engine(lite0, spec_of(lite0), "openvno")


def test_full_disk_is_a_note(tmp_path, monkeypatch, lite0):
    def full(key, model):
        raise StorageError("no space left.", "Free some space.")

    monkeypatch.setenv("TLX_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(engines, "save_converted", full)
    assert "no space left" in OpenVINOEngine(lite0, shallow(lite0)).note


def test_tensorflow_loads_and_runs_without_a_word(lite0):
    code = (
        "import numpy\n"
        "from tlx.embed.backbones.registry import get_backbone\n"
        "from tlx.embed.engines.registry import TensorFlowEngine\n"
        "from tlx.cache.spec import FeatureSpec\n"
        "b = get_backbone('efficientnet-lite0')\n"
        "s = FeatureSpec(b.name, b.weights_digest, b.preprocessing, 64)\n"
        "print(TensorFlowEngine(b, s)(numpy.zeros((1, 64, 64, 3), 'uint8')).shape)\n"
    )
    done = run(code)
    assert (done.stdout, done.stderr) == ("(1, 1280)\n", "")


def run(code: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
