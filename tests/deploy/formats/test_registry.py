"""Formats are found by their files."""

from __future__ import annotations

import pytest

from tlx.deploy.formats.registry import formats, get_format
from tlx.errors import UnknownNameError


def test_formats_have_their_names_and_files_of_their_own():
    assert {"keras", "onnx"} <= set(formats())
    assert all(name == kind.name for name, kind in formats().items())
    assert len({kind.file for kind in formats().values()}) == len(formats())


def test_an_unknown_one_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean onnx"):
        get_format("onx")
