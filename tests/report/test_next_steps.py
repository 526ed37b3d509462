from dataclasses import replace

import pytest

import tlx
from tlx.classify.duplicates import ToldDuplicates
from tlx.classify.findings.finding import Finding, Flagged
from tlx.classify.runs.run import Finetuning
from tlx.report.judged import Judged
from tlx.report.next_steps import measured_gain, next_steps


@pytest.fixture
def judged(audit):
    return Judged(audit.runs[0])


def titles(steps):
    return [step.title for step in steps]


def test_without_a_run_one_is_fitted(audit):
    (step,) = next_steps(None, audit.findings, (), "tlx embed data")
    assert step.command.startswith("tlx fit-head")


def test_each_step_has_a_command_and_an_effect(audit, judged):
    for step in next_steps(judged, audit.findings, audit.runs, "tlx embed data"):
        assert step.command.startswith("tlx ")
        assert step.effect


def test_labels_that_are_mistakes_bring_what_they_surely_cost(audit, judged):
    row = judged.wrong[0]
    name = judged.run.class_names[judged.predicted[row]]
    images = (
        Flagged(judged.scored.path[row], "amber", suggested=name, score=0.9),
        Flagged("right/already.png", "amber", suggested="teal", score=0.9),
    )
    found = Finding("TLX101", "suspect-label", "warning", "t", "a", images=images)
    step = next_steps(judged, [found], audit.runs, "tlx embed data")[0]
    assert step.title == "Look at 2 suspect labels"
    share = 100 / len(judged.scored.path)
    assert step.effect.startswith(f"{0.9 * share:+.1f} points (")
    assert f"to {share:+.1f})" in step.effect


def test_without_probabilities_the_effect_is_not_known(audit, judged):
    images = (Flagged("amber/wrong.png", "amber", suggested="teal"),)
    found = Finding("TLX101", "suspect-label", "warning", "t", "a", images=images)
    assert next_steps(judged, [found], audit.runs, "")[0].effect == "not known"


def test_no_gain_is_promised_beyond_all_right(audit, judged):
    most = f"at most {100 * len(judged.wrong) / len(judged.scored.path):+.1f} points"
    steps = next_steps(judged, (), audit.runs, "tlx embed data")
    assert all(most in step.effect for step in steps if "layers" in step.title)


def test_heads_that_are_there_are_not_proposed(audit, judged):
    runs = tlx.list_runs(audit.evidence.workspace)
    steps = next_steps(judged, (), runs, "tlx embed data")
    assert "tlx fit-head --model vote" in [step.command for step in steps]


def test_a_fine_tuning_that_was_measured_is_told(audit, judged):
    verdict = {"accuracy": {"value": 0.02, "low": -0.01, "high": 0.05}}
    run = audit.runs[0]
    tuning = Finetuning("lda-1", "finetuned", {"verdict": verdict})
    tuned = replace(run, id="finetune-1", info=replace(run.info, finetune=tuning))
    steps = next_steps(judged, (), [*audit.runs, tuned], "tlx embed data")
    (step,) = [step for step in steps if "finetune-1" in step.title]
    assert step.effect == "+2.0 points (-1.0 to +5.0), measured"


@pytest.mark.parametrize(
    "verdict",
    [
        None,
        "x",
        {},
        {"accuracy": 1},
        {"accuracy": {"value": None}},
        {"accuracy": {"value": 1, "low": "<b>", "high": 2}},
        {"accuracy": {"value": 10**400, "low": 0, "high": 2}},
    ],
)
def test_what_a_foreign_run_says_of_its_gain_is_checked(audit, verdict):
    run = audit.runs[0]
    tuning = Finetuning("lda-1", "head", {"verdict": verdict})
    assert measured_gain(replace(run, info=replace(run.info, finetune=tuning))) is None


def test_heads_are_to_be_fitted_as_the_judged_one_was_so_that_they_can_be_compared(audit, judged):
    info = replace(judged.run.info, near_duplicates=ToldDuplicates("group", 0))
    grouped = replace(judged, run=replace(judged.run, info=info))
    commands = [step.command for step in next_steps(grouped, (), (), "tlx embed data")]
    fits = [command for command in commands if command.startswith("tlx fit-head")]
    assert len(fits) == 2
    assert all(command.endswith(" --near-duplicates group") for command in fits)
