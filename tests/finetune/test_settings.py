"""Settings that make no sense are refused before anything is done."""

from __future__ import annotations

import pytest

from tlx.errors import FitError, UnknownNameError
from tlx.finetune.settings import Settings


@pytest.mark.parametrize(
    "wrong",
    [{"lr": 0}, {"lr": float("inf")}, {"epochs": -1}, {"class_weight": "even"}, {"patience": 0}],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(FitError, match=next(iter(wrong))):
        Settings(**wrong)


def test_an_unknown_strategy_is_refused_with_the_known():
    with pytest.raises(UnknownNameError, match="unknown strategy: 'miror'") as caught:
        Settings(strategy="miror")
    assert "mirrored" in caught.value.remedy
