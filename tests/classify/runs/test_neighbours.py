"""What tells strangers, as a part of a run: written, read, and refused where it is foreign."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from tlx.classify.cosine import unit_rows
from tlx.classify.fit import fit_head
from tlx.classify.runs.neighbours import (
    NEIGHBOURS,
    neighbours_bytes,
    read_neighbours,
    stranger_p_values,
)
from tlx.classify.runs.run import read_run
from tlx.classify.strangers import Neighbours, neighbour_distances
from tlx.classify.table import load_table
from tlx.errors import FormatError


def test_a_run_keeps_what_it_learned_from_and_how_far_the_scored_are(add_dataset, draw):
    split = ["train"] * 40 + ["validation"] * 20
    place = add_dataset("d", *draw(60), split=split)
    kept = read_neighbours(fit_head("centroid", workspace=place.root))
    assert kept is not None
    X = load_table(place).X
    np.testing.assert_allclose(kept.references, unit_rows(X[:40]), atol=1e-3)
    expected = neighbour_distances(X[40:], kept.references)
    np.testing.assert_allclose(kept.distances, expected, atol=1e-6)


def test_folds_leave_each_image_and_its_group_out(add_dataset, draw, place):
    X, y = draw(40)
    add_dataset(
        "d", np.vstack([X, X]), np.r_[y, y], digests=[bytes([i % 40 + 1]) * 32 for i in range(80)]
    )
    kept = read_neighbours(fit_head("centroid", workspace=place.root))
    assert kept is not None
    assert kept.distances.min() > 0.001  # copies of an image are of its group


def test_a_classifier_that_is_not_saved_keeps_none(add_dataset, draw):
    run = fit_head(GaussianNB(), workspace=add_dataset("d", *draw(40)).root)
    assert read_neighbours(run) is None
    assert not run.can_predict


def replaced(run, references, distances):
    """Return the run with another part, and its hash in the list."""
    data = neighbours_bytes(Neighbours(np.asarray(references), np.asarray(distances)))
    (run.folder / NEIGHBOURS).write_bytes(data)
    info = json.loads((run.folder / "run.json").read_text())
    info["parts"][NEIGHBOURS] = hashlib.sha256(data).hexdigest()
    (run.folder / "run.json").write_text(json.dumps(info))
    return read_run(run.folder)


@pytest.fixture
def run(add_dataset, draw):
    return fit_head("centroid", workspace=add_dataset("d", *draw(40)).root)


@pytest.mark.parametrize(
    ("references", "distances"),
    [
        (np.ones((5, 8)), np.ones(39)),
        (np.ones((5, 8)), np.ones((40, 1))),
        (np.ones((0, 8)), np.ones(40)),
        (np.full((5, 8), np.nan), np.ones(40)),
        (np.ones((5, 8)), np.full(40, np.nan)),
        (np.ones(8), np.ones(40)),
    ],
)
def test_a_part_that_does_not_fit_is_refused(run, references, distances):
    with pytest.raises(FormatError):
        read_neighbours(replaced(run, references, distances))


def test_embeddings_of_another_length_are_refused(run):
    other = replaced(run, np.ones((5, 9)), np.ones(40))
    kept = read_neighbours(other)
    assert kept is not None
    with pytest.raises(FormatError, match="embeddings of 9 numbers, not of 8"):
        stranger_p_values(other, kept, np.ones((2, 8)))


def test_a_part_that_was_changed_is_refused(run):
    (run.folder / NEIGHBOURS).write_bytes(b"x")
    with pytest.raises(FormatError, match="is not what the run was saved with"):
        read_neighbours(run)
