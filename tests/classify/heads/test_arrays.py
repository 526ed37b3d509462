"""The HDF5 file of a head."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tlx.classify.heads.arrays import head_parts, read_arrays
from tlx.errors import FormatError


def test_arrays_come_back_with_their_types_and_shapes(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "k": np.array(5)}
    ((name, data),) = head_parts("some", arrays).items()
    kind, again = read_arrays(tmp_path / name, data)
    assert (name, kind) == ("head.h5", "some")
    assert again.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(again[key], array)
        assert again[key].dtype == array.dtype


@pytest.mark.parametrize(
    ("names", "kind"), [(("weights", "bias"), "linear"), (("weights_0", "bias_0"), "dense")]
)
def test_the_first_files_noted_no_kind(tmp_path, names, kind):
    with h5py.File(tmp_path / "head.h5", "w") as file:
        for name in names:
            file[name] = np.ones((2, 2), np.float32)
    assert read_arrays(tmp_path / "head.h5", (tmp_path / "head.h5").read_bytes())[0] == kind


def test_a_group_or_link_is_refused(tmp_path):
    with h5py.File(tmp_path / "head.h5", "w") as file:
        file["weights"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(FormatError, match="no plain data set"):
        read_arrays(tmp_path / "head.h5", (tmp_path / "head.h5").read_bytes())


def test_data_sets_that_claim_more_than_the_file_together_are_refused(tmp_path):
    with h5py.File(tmp_path / "head.h5", "w") as file:
        file["weights"] = np.ones(10_000)
        for i in range(9):
            file[f"again_{i}"] = file["weights"]  # a second name of the same values
    with pytest.raises(FormatError, match="claims 800,000 bytes in a file of"):
        read_arrays(tmp_path / "head.h5", (tmp_path / "head.h5").read_bytes())
