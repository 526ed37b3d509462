"""A linear head as arrays."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tlx.classify.heads.linear import LinearPredictor, both_logits, softmax
from tlx.classify.heads.predictors import load_predictor


@pytest.fixture
def head() -> LinearPredictor:
    rng = np.random.default_rng(0)
    return LinearPredictor(
        rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    )


def test_the_file_holds_two_arrays_that_h5py_reads(head, tmp_path):
    ((name, data),) = head.parts().items()
    (tmp_path / name).write_bytes(data)
    with h5py.File(tmp_path / name) as file:
        assert set(file) == {"weights", "bias"}
        np.testing.assert_array_equal(file["weights"], head.weights)
        assert file.attrs["kind"] == "linear"
    again = load_predictor(tmp_path, {name: data})
    np.testing.assert_array_equal(again.bias, head.bias)


def test_scaling_scales_the_logits(head):
    X = np.eye(5, dtype=np.float32)
    np.testing.assert_allclose(head.scaled(0.5).logits(X), head.logits(X) / 2, rtol=1e-6)


def test_shapes_that_do_not_fit_are_refused():
    arrays = {"weights": np.ones((5, 3), np.float32), "bias": np.ones(2, np.float32)}
    with pytest.raises(ValueError, match=r"weights \(5, 3\) and bias \(2,\) do not fit"):
        LinearPredictor.from_arrays(arrays)


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="float64"):
        LinearPredictor.from_arrays({"weights": np.ones((5, 3)), "bias": np.ones(3)})


def test_its_repr_is_short(head):
    assert repr(head) == "LinearPredictor(5 features, 3 classes)"


def test_softmax_of_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])


def test_log_odds_become_two_logits():
    p = softmax(both_logits(np.array([[np.log(3.0)]])))
    np.testing.assert_allclose(p, [[0.25, 0.75]])
    three = np.ones((2, 3))
    assert both_logits(three) is three
