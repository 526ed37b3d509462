"""What a run takes to be the prevalence of its classes before it has seen an image."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.runs.prior import learned_prior, run_prior
from tlx.classify.runs.run import read_run
from tlx.errors import FormatError


@pytest.fixture
def skewed(add_dataset, draw, place):
    """Return how to fit on 90 ants and 30 bees, a third of each set aside."""
    X, y = draw(120)
    y = (np.arange(120) % 4 == 3).astype(int)
    split = ["validation" if i % 3 == 0 else "train" for i in range(120)]
    add_dataset("d", X, y, split=split)
    return lambda model, **options: fit_head(model, workspace=place.root, **options)


def test_it_is_the_share_of_the_images_learned_from(skewed) -> None:
    run = skewed("logreg", C=1.0)
    assert run.info.prior == [0.75, 0.25]
    assert read_run(run.folder).info.prior == [0.75, 0.25]


@pytest.mark.parametrize(
    ("model", "options"), [("logreg", {"C": 1.0, "class_weight": "balanced"}), ("centroid", {})]
)
def test_it_is_even_where_frequencies_are_not_learned(skewed, model, options) -> None:
    assert skewed(model, **options).info.prior == [0.5, 0.5]


def test_a_class_without_images_has_no_share() -> None:
    assert learned_prior(np.array([0, 2]), 3, "centroid", {}) == [0.5, 0, 0.5]


def test_a_run_of_before_is_told_by_its_scored_images(skewed, add_dataset, draw, place) -> None:
    held_out = skewed("logreg", C=1.0)
    add_dataset("folds", *draw(60))
    folds = skewed("lda", shrinkage=0.5, dataset="folds")
    for run, expected in ((held_out, [0.75, 0.25]), (folds, [0.5, 0.5])):
        old = replace(run, info=replace(run.info, prior=None))
        assert run_prior(old).tolist() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("value", [[0.5], [2, -1], ["a", "b"], 0.5, [0.5, 0.4], [0.2, 0.3, 0.5]])
def test_shares_that_are_none_are_refused(skewed, value) -> None:
    run = skewed("logreg", C=1.0)
    path = run.folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prior": value}))
    with pytest.raises(FormatError, match=r"has prior .* in its run.json, not"):
        read_run(run.folder)
