"""What every engine must pass, whichever file it comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from engine_helpers import cosines, eager, pixels, relative, run, spec_of

from tlx.embed.engines.engine import check_batch
from tlx.embed.engines.registry import engine_kinds, load_engine

NAMES = list(engine_kinds())


def has_bfloat16() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "bf16" in cpuinfo.read_text()


@pytest.fixture(scope="module", params=NAMES)
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


@pytest.mark.parametrize("name", NAMES)
def test_feature_maps_keep_their_shape(name, cache, lite0):
    spec = spec_of(lite0, layer="block4_add", pooling="none")
    engine = load_engine(lite0, spec, name)
    batch = pixels(3)
    assert engine(batch).shape == (3, 8, 8, 40)
    assert relative(engine(batch), eager(lite0, spec, batch)) <= 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_keeps_the_direction_of_features(name, cache, lite0):
    if not has_bfloat16():
        pytest.skip("this processor does not compute in bfloat16")
    engine = load_engine(lite0, spec_of(lite0, precision="bfloat16"), name)
    batch = pixels(3)
    features = engine(batch)
    assert cosines(features, eager(lite0, spec_of(lite0), batch)).min() >= 0.99
    assert relative(features, eager(lite0, spec_of(lite0), batch)) > 1e-4, "it computed in float32"


def test_a_batch_is_checked_without_any_engine():
    check_batch(pixels(0), 64)
    with pytest.raises(ValueError, match=r"Got uint8 \(2, 32, 32, 3\)"):
        check_batch(pixels(2, 32), 64)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "tensorflow")) for n in NAMES]
)
def test_loads_and_runs_without_a_word(name, cache):
    code = (
        "import numpy\n"
        "from tlx.embed.backbones.registry import get_backbone\n"
        "from tlx.embed.engines.registry import load_engine\n"
        "from tlx.cache.spec import FeatureSpec\n"
        "b = get_backbone('efficientnet-lite0')\n"
        "s = FeatureSpec(b.name, b.weights_digest, b.preprocessing, 64)\n"
        f"print(load_engine(b, s, {name!r})(numpy.zeros((1, 64, 64, 3), 'uint8')).shape)\n"
    )
    done = run(code)
    assert (done.stdout, done.stderr) == ("(1, 1280)\n", "")
