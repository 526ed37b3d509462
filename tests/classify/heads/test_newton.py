"""Newton's method inside a bracket."""

from __future__ import annotations

import math

import pytest

from tlx.classify.heads.newton import increasing_root


@pytest.mark.parametrize(
    ("function", "root"),
    [
        (lambda t: (t - 3, 1.0), 3.0),
        (lambda t: (math.atan(t - 2), 1 / (1 + (t - 2) ** 2)), 2.0),  # plain Newton runs away
        (lambda t: (t - 1, 0.0), 1.0),  # no slope: halving alone
        (lambda t: (t + 50, 1.0), -10.0),  # beyond the bracket
    ],
)
def test_the_root_is_found(function, root):
    assert increasing_root(function, 9.0, -10.0, 10.0, 1e-10) == pytest.approx(root, abs=1e-8)
