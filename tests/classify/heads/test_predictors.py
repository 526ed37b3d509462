"""Heads read from the files of a run."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.heads.arrays import head_parts
from tlx.classify.heads.predictors import head_file, load_predictor
from tlx.errors import FormatError


def test_the_file_of_a_head_is_found():
    assert head_file(["predictions.h5", "head.keras", "head.h5"]) == "head.h5"
    assert head_file(["head.skops"]) == "head.skops"
    assert head_file(["predictions.h5"]) is None


def test_no_head_is_told(tmp_path):
    with pytest.raises(FormatError, match="has no head"):
        load_predictor(tmp_path, {"predictions.h5": b""})


def test_another_file_is_refused(tmp_path):
    (tmp_path / "head.h5").write_bytes(b"no HDF5")
    with pytest.raises(FormatError, match=r"head\.h5 is no head"):
        load_predictor(tmp_path, {"head.h5": (tmp_path / "head.h5").read_bytes()})


@pytest.mark.parametrize(
    ("kind", "arrays", "reason"),
    [
        ("forest", {"trees": np.ones(3)}, "knows none of the kind 'forest'"),
        ("linear", {"weights": np.ones((5, 3), np.float32)}, "'bias'"),
        ("linear", {"weights": np.ones((5, 3)), "bias": np.ones(2)}, "do not fit"),
        ("dense", {"weights_1": np.ones((5, 3), np.float32)}, "'weights_0'"),
        ("neighbors", {"rows": np.ones((5, 3), np.float32)}, "'labels'"),
    ],
)
def test_arrays_that_are_no_head_are_refused(tmp_path, kind, arrays, reason):
    (tmp_path / "head.h5").write_bytes(head_parts(kind, arrays)["head.h5"])
    with pytest.raises(FormatError, match=rf"head\.h5 is no head.*{reason}"):
        load_predictor(tmp_path, {"head.h5": (tmp_path / "head.h5").read_bytes()})
