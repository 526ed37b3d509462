"""A linear head as arrays."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tlx.classify.heads.linear import LinearPredictor, both_logits, softmax
from tlx.errors import FormatError


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
    again = LinearPredictor.load(tmp_path / name)
    np.testing.assert_array_equal(again.bias, head.bias)


def test_scaling_scales_the_logits(head):
    X = np.eye(5, dtype=np.float32)
    np.testing.assert_allclose(head.scaled(0.5).logits(X), head.logits(X) / 2, rtol=1e-6)


def test_shapes_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "head.h5"
    path.write_bytes(LinearPredictor(np.ones((5, 3)), np.ones(2)).to_bytes())
    with pytest.raises(FormatError, match=r"weights \(5, 3\), bias \(2,\)"):
        LinearPredictor.load(path)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "head.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(FormatError, match="no linear head"):
        LinearPredictor.load(path)


def test_softmax_of_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [0.0, 0.0]])), [[1, 0], [0.5, 0.5]])


def test_log_odds_become_two_logits():
    p = softmax(both_logits(np.array([[np.log(3.0)]])))
    np.testing.assert_allclose(p, [[0.25, 0.75]])
    three = np.ones((2, 3))
    assert both_logits(three) is three
