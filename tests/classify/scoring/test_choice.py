"""Which point each fit takes, and the mean of two heads that were chosen each by itself."""

from dataclasses import replace

import numpy as np
import pytest

from tlx.classify.heads.linear import LinearPredictor, softmax
from tlx.classify.heads.registry import fit_grid, heads, points
from tlx.classify.scoring.calibrate import fit_temperature, log_probabilities
from tlx.classify.scoring.choice import choose, choose_features, told, vote
from tlx.classify.scoring.plan import make_plan


@pytest.fixture
def table(make_table):
    random = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [20, 25, 30])
    return make_table(random.standard_normal((75, 6)) + 1.2 * np.eye(6)[y], y)


def chosen(table, plan, model, **options):
    weights = np.zeros((len(plan.fits), len(table)), np.float32)
    for weight, fit in zip(weights, plan.fits, strict=True):
        weight[fit.train] = 1
    n = points(heads()[model].grid) if not options else 1
    return choose(table, plan, fit_grid(model, table.X, table.y, weights, **options), n)


def loss(table, plan, choice, fits):
    y, p = told(table, plan, choice, fits)
    return -np.log(p[np.arange(len(y)), y]).sum()


def test_each_fit_takes_the_point_that_its_inner_folds_lose_least_with(table):
    plan = make_plan(table, 3)
    grid = heads()["lda"].grid["shrinkage"]
    fixed = [chosen(table, plan, "lda", shrinkage=s) for s in grid]
    for k, choice in chosen(table, plan, "lda").items():
        losses = [loss(table, plan, each[k], plan.fits[k].inner) for each in fixed]
        assert choice.params == {"shrinkage": grid[int(np.argmin(losses))]}


def test_without_inner_folds_the_middle_of_the_grid_is_taken(make_table):
    X = np.array([[0.0, 0], [0, 1], [5, 5], [5, 6]])
    table = make_table(X, np.array([0, 0, 1, 1]))
    plan = make_plan(table, 2)
    found = chosen(table, plan, "ridge")
    assert found[plan.scored[0]].params == {"alpha": heads()["ridge"].grid["alpha"][6]}


def test_a_vote_is_the_mean_of_calibrated_logits(table):
    plan = make_plan(table, 3)
    members = [chosen(table, plan, "logreg"), chosen(table, plan, "lda")]
    found = vote(table, plan, members)
    k = plan.scored[1]
    logits = []
    for choices in members:
        T = fit_temperature(*told(table, plan, choices[k], plan.fits[k].inner))
        logits.append(log_probabilities(choices[k].proba[k]) / T)
    np.testing.assert_allclose(found[k].proba[k], softmax(sum(logits) / 2), atol=1e-6)
    assert found[k].params == {**members[0][k].params, **members[1][k].params}
    assert isinstance(found[plan.kept].head, LinearPredictor)
    assert all(found[k].head is None for k in plan.scored)


def test_without_inner_folds_the_kept_vote_is_the_one_that_is_scored(table):
    plan = make_plan(table, 3, search=False)
    fixed = [("logreg", {"C": 10.0}), ("lda", {"shrinkage": 0.1})]
    members = [chosen(table, plan, model, **params) for model, params in fixed]
    found = vote(table, plan, members)
    for k in (plan.kept, *plan.scored):
        rows = plan.scored[0] if k == plan.kept else k
        logits = [log_probabilities(choices[k].proba[rows]) for choices in members]
        np.testing.assert_allclose(found[k].proba[rows], softmax(sum(logits) / 2), atol=1e-6)
    heads_of = [choices[plan.kept].head for choices in members]
    np.testing.assert_allclose(
        found[plan.kept].head.weights, sum(h.weights for h in heads_of) / 2, atol=1e-6
    )


def test_a_vote_of_one_is_that_one(table):
    plan = make_plan(table, 3)
    alone = chosen(table, plan, "lda")
    assert vote(table, plan, [alone]) is alone


@pytest.fixture
def candidates(table):
    """Return three tables of the same rows: plain, with noise beside it, with the answer."""
    noise = np.random.default_rng(1).standard_normal((75, 3)).astype(np.float32)
    answer = 2 * np.eye(3, dtype=np.float32)[table.y] + noise
    return [table, *(replace(table, X=np.hstack([table.X, more])) for more in (noise, answer))]


def test_each_fit_takes_the_features_that_lose_least_beyond_chance(candidates):
    plan = make_plan(candidates[0], 3)
    found = [chosen(each, plan, "lda") for each in candidates]
    taken, report = choose_features(candidates, plan, found)
    assert taken == dict.fromkeys([*plan.scored, plan.kept], 2)
    assert [each["chosen"] for each in report["candidates"]] == [0, 0, 3]
    gain, error = (report["candidates"][2][key] for key in ("gain", "standard_error"))
    fits = plan.fits[plan.kept].inner
    total = [
        loss(each, plan, choices[plan.kept], fits)
        for each, choices in zip(candidates, found, strict=True)
    ]
    assert gain == pytest.approx((total[0] - total[2]) / 75)
    assert gain > 2 * error


def test_features_that_lose_no_less_beyond_chance_are_not_taken(candidates):
    plan = make_plan(candidates[0], 3)
    few = [candidates[0], candidates[1], candidates[0]]
    taken, report = choose_features(few, plan, [chosen(each, plan, "lda") for each in few])
    assert set(taken.values()) == {0}
    assert report["candidates"][2]["gain"] == 0


def test_images_of_a_group_count_together_when_features_are_chosen(candidates):
    plan = make_plan(candidates[0], 3)
    groups = np.arange(75) // 5
    grouped = [replace(each, groups=groups) for each in candidates]
    found = [chosen(each, plan, "lda") for each in candidates]
    errors = [
        choose_features(tables, plan, found)[1]["candidates"][2]["standard_error"]
        for tables in (candidates, grouped)
    ]
    assert errors[0] != errors[1]


def test_without_inner_folds_the_first_features_are_taken(candidates):
    plan = make_plan(candidates[0], 3, search=False)
    found = [chosen(each, plan, "lda", shrinkage=0.5) for each in candidates]
    taken, _ = choose_features(candidates, plan, found)
    assert [taken[k] for k in plan.scored] == [0, 0, 0]
