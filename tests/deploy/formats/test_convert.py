"""Converters are kept from chattering, and errors pass."""

from __future__ import annotations

import logging
import warnings

import pytest

from tlx.deploy.formats.convert import quietly, signature


def test_nothing_is_said_inside(capsys, caplog):
    with quietly():
        print("chatter")  # noqa: T201
        warnings.warn("chatter", stacklevel=1)
        logging.getLogger("tf2onnx").warning("chatter")
    assert "chatter" not in capsys.readouterr().out + caplog.text
    assert logging.root.manager.disable == logging.NOTSET


def test_errors_pass():
    with pytest.raises(ValueError, match="wrong"), quietly():
        raise ValueError("wrong")


def test_the_input_keeps_its_name(make_run):
    (found,) = signature(make_run("logreg").as_keras())
    assert (found.name, found.dtype.name, found.shape.as_list()) == (
        "image",
        "uint8",
        [None, 16, 16, 3],
    )
