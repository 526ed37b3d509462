"""Predictions of images by heads that had not seen them: what they tell, written and read."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.runs.predictions import (
    EPOCHS,
    PREDICTIONS,
    epochs_bytes,
    predictions_bytes,
    read_epochs,
    read_predictions,
    scored_id,
    trained_id,
)
from tlx.errors import FormatError


@pytest.fixture
def run(add_dataset, draw, place):
    add_dataset("drawn", *draw(40, 2))
    return fit_head("centroid", workspace=place.root)


def test_a_repr_is_one_short_line(run):
    assert repr(run.predictions()) == "<Predictions: 40 images, 2 classes>"


def test_what_is_written_is_read_again(run):
    kept = run.predictions()
    assert predictions_bytes(kept) == (run.folder / PREDICTIONS).read_bytes()
    assert np.array_equal(kept.all_draws, kept.probabilities[None])


def test_predictions_of_other_classes_are_refused(run):
    with pytest.raises(FormatError, match="does not fit to the 3 classes"):
        read_predictions(run.folder, run.info.parts, 3)


def with_epochs(folder, data: bytes) -> dict[str, str]:
    """Write the part and return what `run.json` would list."""
    (folder / EPOCHS).write_bytes(data)
    return {EPOCHS: hashlib.sha256(data).hexdigest()}


def test_logits_by_epoch_are_read_as_they_were_written(tmp_path):
    logits = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    parts = with_epochs(tmp_path, epochs_bytes(list(logits)))
    assert np.array_equal(read_epochs(tmp_path, parts, 5, 2), logits)


@pytest.mark.parametrize(
    ("shape", "value"), [((3, 4, 2), 0.0), ((3, 5, 3), 0.0), ((3, 5, 2), np.nan)]
)
def test_logits_of_other_images_or_none_at_all_are_refused(tmp_path, shape, value):
    parts = with_epochs(tmp_path, epochs_bytes(np.full(shape, value)))
    with pytest.raises(FormatError):
        read_epochs(tmp_path, parts, 5, 2)


def test_most_runs_have_no_logits_by_epoch(run):
    assert run.epoch_logits() is None


def test_ids_of_images_do_not_depend_on_their_order():
    rng = np.random.default_rng(0)
    digest = rng.integers(0, 256, (20, 32), np.uint8)
    label = np.arange(20) % 3
    order = rng.permutation(20)
    assert scored_id(digest, label) == scored_id(digest[order], label[order])
    assert scored_id(digest, label) != scored_id(digest, label[order])
    assert trained_id(digest) == trained_id(np.vstack([digest[order], digest[:3]]))
    assert trained_id(digest) != trained_id(digest[1:])


def test_the_ids_in_the_file_are_those_of_the_predictions(run):
    again = run.predictions()
    assert (run.info.scored_id, run.info.trained_id) == (again.scored_id, again.trained_id)
