"""Calls with an argument that a function does not have."""

from __future__ import annotations

import inspect

import pytest

import tlx
from tlx.arguments import says_nearest_argument
from tlx.errors import ArgumentError


def stated(first, *, second=2):
    """Do something."""
    return first, second


def test_known_arguments_go_through():
    assert says_nearest_argument(stated)(1, second=3) == (1, 3)


def test_name_text_and_signature_stay():
    checked = says_nearest_argument(stated)
    assert checked.__doc__ == "Do something."
    assert inspect.signature(checked) == inspect.signature(stated)


def test_the_nearest_argument_is_named():
    with pytest.raises(ArgumentError, match=r"stated\(\) has no argument 'secnd'.\nDid you mean"):
        says_nearest_argument(stated)(1, secnd=2)


def test_where_none_is_near_all_are_named():
    with pytest.raises(ArgumentError, match="It has: first, second"):
        says_nearest_argument(stated)(1, zzz=2)


def passing_on(first, **options):
    return first, options


def test_options_to_be_passed_on_go_through_unless_they_are_nearly_an_argument():
    assert says_nearest_argument(passing_on)(1, C=3) == (1, {"C": 3})
    with pytest.raises(ArgumentError, match="Did you mean first"):
        says_nearest_argument(passing_on)(1, firsts=1)


FUNCTIONS = {name for name in tlx.__all__ if inspect.isfunction(getattr(tlx, name))}
FUNCTIONS -= {"evaluate_features", "storage_options"}  # which have no workspace


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_public_functions_refuse_unknown_arguments(name):
    """They are refused first, before anything is looked for, and as Python would: a TypeError."""
    function = getattr(tlx, name)
    parameters = list(inspect.signature(function).parameters.values())
    given = [None for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
    with pytest.raises(TypeError, match=name) as caught:
        function(*given, worksapce="x")
    assert isinstance(caught.value, tlx.TlxError)
    assert "workspace" in caught.value.remedy
