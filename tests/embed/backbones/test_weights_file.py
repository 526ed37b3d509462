"""Weights files: their digest, and one kind of error for all that is wrong with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tlx.embed.backbones.weights_file import (
    file_digest,
    given_file,
    loading,
    refuse_code,
)
from tlx.errors import UnknownNameError, WeightsError


def test_the_digest_is_that_of_the_whole_file(tmp_path):
    data = bytes(range(256)) * 8192  # two blocks
    (tmp_path / "w.h5").write_bytes(data)
    assert file_digest(tmp_path / "w.h5") == hashlib.sha256(data).hexdigest()


def test_a_file_that_is_not_there_is_named_with_what_else_one_can_give(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot read the weights file .*w\.h5: No such file"):
        file_digest(tmp_path / "w.h5")


@pytest.mark.parametrize(
    ("raised", "told"),
    [(KeyError("layer"), "'layer'"), (OSError(), "OSError"), (ValueError("one\ntwo"), "one")],
)
def test_whatever_a_loader_raises_is_one_line(tmp_path, raised, told):
    with pytest.raises(WeightsError) as caught, loading(tmp_path / "w.h5"):
        raise raised
    assert caught.value.cause == f"{tmp_path / 'w.h5'} cannot be loaded: {told}"


def test_an_error_of_tlx_stays_what_it_is(tmp_path):
    with pytest.raises(UnknownNameError), loading(tmp_path / "w.h5"):
        raise UnknownNameError("unknown layer: 'x'.")


def test_none_is_no_file_and_home_is_meant_by_a_tilde():
    assert given_file("none") is None
    assert given_file("~/mine.h5") == Path.home() / "mine.h5"


@pytest.mark.parametrize("name", ["Lambda", "__lambda__"])
def test_code_is_found_however_deep(name):
    refuse_code(Path("mine.keras"), {"layers": [{"class_name": "Dense"}]})
    with pytest.raises(WeightsError, match="Lambda layer"):
        refuse_code(Path("mine.keras"), {"layers": [{"config": [{"class_name": name}]}]})
