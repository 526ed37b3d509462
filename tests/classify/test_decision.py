"""What is asked of probabilities: checked before any image is read, then done."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.decision import make_decision, rejection, stated_prior
from tlx.classify.fit import fit_head
from tlx.classify.runs.neighbours import read_neighbours
from tlx.classify.scoring.calibrate import choose_threshold
from tlx.classify.scoring.prevalence import move_prior
from tlx.errors import DataError, FitError, UnknownNameError

LEARNED = np.array([0.2, 0.6, 0.2])
NAMES = ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        ("ant=0.5,bee=0.25,cat=0.25", [0.5, 0.25, 0.25]),
        ("ant=0.5", [0.5, 0.375, 0.125]),
        ({"cat": 0.6, "ant": 0.3}, [0.3, 0.1, 0.6]),
        (" bee = 0.2 ", [0.4, 0.2, 0.4]),
    ],
)
def test_classes_not_named_share_what_is_left(prior, expected) -> None:
    assert stated_prior(prior, NAMES, LEARNED).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ("and=0.5", "unknown class: 'and'.\nDid you mean ant"),
        ("ant=0", "share of 0.0 for 'ant' is not between 0 and 1"),
        ("ant=-0.1", "not between 0 and 1"),
        ("ant=5", "5% is ant=0.05"),
        ("ant=nan", "not between"),
        ({"ant": "x"}, "share of x"),
        ("ant=0.5,bee=0.5", "sum to 1: nothing is left for cat"),
        ("ant=0.9,bee=0.9", "sum to 1.8: nothing is left"),
        ("ant=0.3,bee=0.3,cat=0.3", "sum to 0.9, not to 1"),
        ("ant=0.3,ant=0.3", "named twice"),
        ("ant=a", "'a' for 'ant' is no number"),
        ("ant", "is no list of name=number"),
        ("", "is no list"),
    ],
)
def test_shares_that_make_no_sense_are_refused(prior, message) -> None:
    with pytest.raises((DataError, UnknownNameError), match=message):
        stated_prior(prior, NAMES, LEARNED)


def test_a_class_that_was_not_learned_is_told() -> None:
    with pytest.raises(DataError, match="learned from no image of 'cat'"):
        stated_prior("ant=0.1", NAMES, np.array([0.5, 0.5, 0.0]))


@pytest.fixture
def run(add_dataset, draw, place):
    add_dataset("d", *draw(300, spread=1.5))
    return fit_head("lda", shrinkage=0.5, workspace=place.root)


def test_what_does_not_go_together_is_refused(run) -> None:
    chosen = rejection(run, 0.2)
    for asked, message in [
        ({"cost": "fp=1,fn=2", "positive": "ant", "reject": 0.1}, "a column 'unknown'"),
        ({"prior": "auto", "reject": 0.1}, "a stated prevalence, not for an estimated one"),
        ({"prior": "ant=0.1", "reject": chosen}, "chosen for another prevalence"),
        ({"positive": "ant"}, "nothing without costs"),
    ]:
        with pytest.raises(DataError, match=message):
            make_decision(run, **asked)


def test_a_rejection_is_for_the_prevalence_that_is_stated(run) -> None:
    """Coverage and error are those of the scored images, moved and weighed."""
    prior = np.array([0.2, 0.8])
    found = make_decision(run, reject=0.2, prior="ant=0.2").rejection
    assert found is not None
    scored = run.predictions()
    moved = move_prior(scored.probabilities, np.array([0.5, 0.5]), prior)
    neighbours = read_neighbours(run)
    assert neighbours is not None
    accepted = (moved.max(axis=1) >= found.threshold) & ~neighbours.are_strangers
    wrong = moved.argmax(axis=1) != scored.label
    weight = np.where(scored.label == 0, 0.2, 0.8)
    assert found.coverage == pytest.approx(np.average(accepted, weights=weight))
    observed = np.average(wrong[accepted], weights=weight[accepted])
    assert found.observed == pytest.approx(observed)
    assert found.observed < found.bound <= 0.2


def test_strangers_are_unknown_however_sure_the_run_is(run) -> None:
    p = np.array([[0.999, 0.001], [0.999, 0.001], [0.501, 0.499]])
    decision = make_decision(run, reject=0.2)
    assert decision.rejection is not None
    assert decision.rejection.strangers == 0.01
    assert decision.choose(p, np.array([0.01, 0.011, 1])).tolist() == [2, 0, 2]
    assert decision.choose(p, np.full(3, np.nan)).tolist() == [0, 0, 2]
    assert decision.choose(p).tolist() == [0, 0, 2]
    assert make_decision(run).choose(p, np.zeros(3)).tolist() == [0, 0, 0]


def test_a_rejection_is_chosen_without_the_strangers_among_the_scored(run) -> None:
    neighbours, scored = read_neighbours(run), run.predictions()
    assert neighbours is not None
    known = ~neighbours.are_strangers
    assert (~known).sum() == 2
    found = rejection(run, 0.2)
    expected = choose_threshold(
        scored.label[known], scored.probabilities[known], scored.group[known], 0.2
    )
    assert (found.threshold, found.n, found.bound) == (
        expected.threshold,
        expected.n,
        expected.bound,
    )
    assert found.coverage == pytest.approx(found.n / 300)


def test_an_error_may_be_a_number_of_numpy(run) -> None:
    assert make_decision(run, reject=np.float32(0.2)).rejection is not None


def test_a_rejection_that_cannot_be_promised_is_refused(run) -> None:
    with pytest.raises(FitError, match=r"which count for \d+ at this prevalence"):
        make_decision(run, reject=0.01, prior="ant=0.01")


def test_an_estimated_prevalence_is_used_if_it_moved(run) -> None:
    decision = make_decision(run, prior="auto")
    scored = run.predictions()
    same = decision.settled(scored.probabilities)
    assert same.prior is None
    assert same.estimate is not None
    assert not same.estimate.moved
    assert same.moved(scored.probabilities) is scored.probabilities
    bees = np.concatenate(
        [np.flatnonzero(scored.label == 1), np.flatnonzero(scored.label == 0)[:8]]
    )
    moved = decision.settled(scored.probabilities[bees])
    assert moved.prior is not None
    assert moved.prior[0] < 0.2
    few = decision.settled(scored.probabilities[:5])
    assert few.prior is None
    assert few.too_little == "that takes 30 different images, and there are 5"


def test_labels_follow_prior_and_costs(run) -> None:
    p = np.array([[0.7, 0.3], [0.4, 0.6]])
    assert make_decision(run).choose(p).tolist() == [0, 1]
    rare = make_decision(run, prior="ant=0.1")
    assert rare.choose(rare.moved(p)).tolist() == [1, 1]
    dear = make_decision(run, prior="ant=0.1", cost="fp=1,fn=20", positive="ant")
    assert dear.choose(dear.moved(p)).tolist() == [0, 0]
