"""TensorFlow: what it does that no other engine must; test_engine has the rest."""

from __future__ import annotations

import numpy as np
from engine_helpers import eager, pixels, relative, shallow

from tlx.embed.backbones.tap import feature_model
from tlx.embed.engines.tensorflow import TensorFlowEngine, trace


def test_a_network_keeps_what_it_was_loaded_with(lite0):
    """Weights are constants of its graph: nothing that happens to a model moves it."""
    engine, batch = TensorFlowEngine(lite0, shallow(lite0)), pixels(2)
    before = engine(batch)
    model = feature_model(lite0, shallow(lite0))
    model.set_weights([0 * weight for weight in model.get_weights()])
    np.testing.assert_array_equal(engine(batch), before)


def test_a_trace_takes_uint8_and_computes_what_the_model_does(lite0):
    spec, batch = shallow(lite0), pixels(2)
    traced = np.asarray(trace(feature_model(lite0, spec))(batch))
    assert relative(traced, eager(lite0, spec, batch)) <= 1e-4
