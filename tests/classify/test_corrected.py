"""What corrections changed: paired, on the images of both runs, with the labels of now."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.corrected import since_before
from tlx.classify.fit import fit_head
from tlx.cli.fit_head import before_text, with_before
from tlx.relabel import relabel_images, undo_corrections

NAMES = ("ant", "bee", "cat", "dog")
WRONG = range(0, 60, 10)


@pytest.fixture
def mislabelled(add_dataset, draw):
    """Return a workspace of 120 images, 6 with the label of the other class, and the true ones."""
    X, y = draw(120, spread=0.7)
    given = y.copy()
    given[list(WRONG)] = 1 - given[list(WRONG)]
    return add_dataset("drawn", X, given), given, y


def mend(place, given, y, **more):
    """Give the wrong images their true labels."""
    labels = {f"{NAMES[given[i]]}/{i}.png": NAMES[y[i]] for i in WRONG}
    return relabel_images({**labels, **more}, workspace=place, apply=True)


def test_a_run_is_set_beside_the_one_of_before_on_the_labels_of_now(mislabelled):
    place, given, y = mislabelled
    first = fit_head("lda", workspace=place)
    mend(place, given, y)
    run = fit_head("lda", workspace=place)
    told = since_before(run, place)
    assert (told.run, told.corrected, told.left_out, told.n) == (first.id, 6, 0, 120)
    assert told.now == pytest.approx(run.metrics["accuracy"].value)
    before = first.predictions()
    truth = {f"{NAMES[given[i]]}/{i}.png": y[i] for i in range(120)}
    right = before.probabilities.argmax(axis=1) == [truth[path] for path in before.path]
    assert told.before == pytest.approx(np.mean(right))
    gain = told.difference
    assert gain.value == pytest.approx(told.now - told.before)
    assert gain.low <= gain.value <= gain.high


def test_without_corrections_or_a_run_before_nothing_is_told(mislabelled):
    place, given, y = mislabelled
    assert since_before(fit_head("lda", workspace=place), place) is None
    mend(place, given, y)
    assert since_before(fit_head("centroid", workspace=place), place) is None, "another head"
    assert since_before(fit_head("lda", workspace=place), place) is not None
    assert since_before(fit_head("lda", workspace=place), place) is None, "none since"


def test_a_damaged_run_of_before_does_no_harm(mislabelled):
    place, given, y = mislabelled
    first = fit_head("lda", workspace=place)
    mend(place, given, y)
    (first.folder / "predictions.h5").write_bytes(b"")
    assert since_before(fit_head("lda", workspace=place), place) is None


def test_it_is_set_beside_the_last_that_was_scored_in_the_same_way(mislabelled):
    place, given, y = mislabelled
    first = fit_head("lda", workspace=place)
    for options in ({"repeats_cv": 2}, {"near_duplicates": "group"}, {"folds": 3}):
        fit_head("lda", workspace=place, **options)
    mend(place, given, y)
    assert since_before(fit_head("lda", workspace=place), place).run == first.id


def test_labels_that_were_kept_are_no_corrections(mislabelled, tmp_path):
    place, given, _ = mislabelled
    fit_head("lda", workspace=place)
    file = tmp_path / "c.csv"
    file.write_text(f"path,action\n{NAMES[given[1]]}/1.png,keep\n")
    relabel_images(file, workspace=place, apply=True)
    assert since_before(fit_head("lda", workspace=place), place) is None


def test_only_images_of_both_runs_count_also_with_a_new_class(mislabelled):
    place, given, _ = mislabelled
    fit_head("lda", workspace=place)
    labels = {f"{NAMES[given[i]]}/{i}.png": "wasp" for i in range(1, 60, 4)}
    labels[f"{NAMES[given[3]]}/3.png"] = None
    relabel_images(labels, workspace=place, new_classes="wasp", apply=True)
    told = since_before(fit_head("lda", workspace=place), place)
    assert (told.corrected, told.left_out, told.n) == (15, 1, 119)
    assert told.before <= 1 - 15 / 119, "the run before knew no wasps"


def test_training_labels_that_were_corrected_count_too(add_dataset, draw):
    X, y = draw(120, spread=0.7)
    place = add_dataset("drawn", X, y, split=["train"] * 80 + ["validation"] * 40)
    fit_head("lda", workspace=place)
    relabel_images({f"{NAMES[y[0]]}/0.png": NAMES[1 - y[0]]}, workspace=place, apply=True)
    told = since_before(fit_head("lda", workspace=place), place)
    assert (told.corrected, told.n) == (1, 40)


def test_runs_of_several_draws_are_paired_draw_by_draw(mislabelled):
    place, given, y = mislabelled
    fit_head("lda", workspace=place, repeats_cv=3)
    mend(place, given, y)
    assert since_before(fit_head("lda", workspace=place, repeats_cv=3), place).n == 120


def test_it_is_one_line_of_text_and_one_key_of_json(mislabelled):
    place, given, y = mislabelled
    first = fit_head("lda", workspace=place)
    mend(place, given, y)
    run = fit_head("lda", workspace=place)
    told = since_before(run, place)
    text = before_text(told)
    assert " ".join(text.split()).startswith(
        f"Since {first.id}: 6 labels corrected. Accuracy on the 120 images that both were scored on"
    )
    assert max(map(len, text.splitlines())) <= 80
    assert with_before(run, told)["before"]["difference"]["p_value"] == told.difference.p_value
    undo_corrections(place)
    assert with_before(run, since_before(run, place))["before"] is None
