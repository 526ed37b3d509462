"""What can be set beside each other."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.runs.scored import Scored


@pytest.fixture
def scored(add_dataset, draw, place):
    """Return a function that fits a head on 60 images and reads what it was scored on."""
    X, y = draw(60)
    add_dataset("d", X, y, digests=[bytes([i + 1] * 32) for i in range(60)])

    def scored(model: str = "centroid", **options) -> Scored:
        return Scored(fit_head(model, workspace=place.root, **options))

    return scored


def test_other_heads_on_the_same_folds_can_be_compared_and_are_not_alike(scored) -> None:
    one, other = scored(), scored("lda")
    assert one.objection(other) == other.objection(one) == ""
    assert not one.is_like(other)
    assert one.is_like(scored())


def test_the_order_of_the_images_does_not_matter(scored, add_dataset, draw) -> None:
    one = scored(max_per_class=5, repeats=2)
    X, y = draw(60)
    back = np.arange(60)[::-1]
    add_dataset("back", X[back], y[back], digests=[bytes([i + 1] * 32) for i in back])
    other = scored(dataset="back", max_per_class=5, repeats=2)
    assert (one.digest == other.digest).all()
    assert (one.y == other.y).all()
    assert one.draws.shape == (2, 60, 2)
    assert one.recipe == other.recipe


def test_other_folds_and_draws_are_objected_to(scored) -> None:
    one = scored()
    assert one.objection(scored(seed=1)) == "other folds (seed 0 instead of 1)"
    few, fewer = (scored(max_per_class=5, repeats=n) for n in (3, 2))
    assert few.objection(fewer) == "3 draws instead of 2"
    assert not few.lacks_draws
