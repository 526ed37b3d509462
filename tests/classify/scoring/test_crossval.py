"""Plans of fits, and what a head is worth: nothing that scores has chosen or taught."""

import weakref

import numpy as np
import pytest

from tlx.classify.heads.head import Head, Option
from tlx.classify.heads.linear import LinearPredictor
from tlx.classify.scoring.crossval import evaluate_head
from tlx.classify.scoring.plan import make_plan
from tlx.errors import DataError


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [20, 25, 30])
    return random.standard_normal((75, 6)) + 1.2 * np.eye(6)[y], y


def test_with_a_validation_split_only_validation_is_scored(make_table, data):
    split = np.where(np.arange(75) % 3 == 0, "validation", "train")
    result = evaluate_head(make_table(*data, split=split), "logreg", n_folds=4)
    assert result.protocol == "validation split"
    assert list(result.rows) == list(range(0, 75, 3))
    assert not set(result.trained_on) & set(result.rows)


def test_train_images_that_are_in_validation_too_are_left_out_and_told(make_table, data):
    split = np.where(np.arange(75) % 3 == 0, "validation", "train")
    groups = np.arange(75)
    groups[[1, 2]] = groups[0]  # two train images are copies of a validation image
    result = evaluate_head(make_table(*data, groups=groups, split=split), "logreg", n_folds=4)
    assert result.protocol == (
        "validation split, 2 train images left out that are in validation too"
    )
    assert not {1, 2} & set(result.trained_on)


def test_views_are_learned_from_and_never_scored(make_table, data):
    X, y = data
    table = make_table(np.vstack([X, X + 0.1]), np.tile(y, 2), groups=np.tile(np.arange(75), 2))
    table.view = np.repeat([0, 1], 75)
    result = evaluate_head(table, "logreg", n_folds=5)
    assert list(result.rows) == list(range(75))
    assert len(result.trained_on) == 150
    for fit in make_plan(table, n_folds=5).fits:
        assert not set(fit.train % 75) & set(fit.held_out)


def test_the_same_seed_gives_the_same_numbers_and_another_other_folds(make_table, data):
    table = make_table(*data)
    one, same, other = (evaluate_head(table, "logreg", seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one.probabilities, same.probabilities)
    assert (one.fold != other.fold).any()


def test_an_informative_data_set_scores_far_above_chance_and_a_random_one_does_not(make_table):
    random = np.random.default_rng(1)
    y = np.arange(200) % 2
    noise = random.standard_normal((200, 10))
    good = evaluate_head(make_table(noise + 2 * y[:, None], y), "logreg").metrics["accuracy"]
    chance = evaluate_head(make_table(noise, y), "logreg").metrics["accuracy"]
    assert good.low > 0.95
    assert chance.low < 0.5 < chance.high


def test_two_images_of_a_class_can_still_be_fitted(make_table):
    X = np.array([[0.0, 0], [0, 1], [5, 5], [5, 6]])
    result = evaluate_head(make_table(X, np.array([0, 0, 1, 1])), "logreg", n_folds=2)
    assert result.metrics["accuracy"].value == 1


def test_an_image_has_no_say_in_what_others_of_its_fold_get(make_table, data):
    """Neither in their heads, nor in the choice of parameters, nor in their temperature."""
    X, y = data
    before = evaluate_head(make_table(X, y), "lda")
    changed = X.copy()
    changed[7] = -9 * X[7]
    after = evaluate_head(make_table(changed, y), "lda")
    mine = (before.fold == before.fold[7]) & (np.arange(75) != 7)
    np.testing.assert_array_equal(after.probabilities[mine], before.probabilities[mine])
    assert (after.probabilities[~mine] != before.probabilities[~mine]).any()


def test_memory_does_not_grow_with_the_grid(make_table, data):
    """Of all points of the grid, the probabilities of few are held at once."""
    made: list[weakref.ref] = []
    most = []

    class Tracked(np.ndarray):
        pass

    class Point:
        def __init__(self, value):
            self.params = {"value": value}

        def proba(self, problem, rows):
            found = np.full((len(rows), 3), 1 / 3).view(Tracked)
            made.append(weakref.ref(found))
            return found

        def head(self, problem):
            return LinearPredictor(np.zeros((6, 3), np.float32), np.zeros(3, np.float32))

    def fit(problems, grid):
        for value in grid["value"]:
            most.append(sum(one() is not None for one in made))
            yield Point(value)

    grid = tuple(map(float, range(100)))
    option = Option("value", "Any", float, 0.0, grid=grid)
    head = Head("any", "any", "AnyHead", "None.", fit, (LinearPredictor,), (option,))
    table = make_table(*data)
    evaluate_head(table, head, n_folds=3)
    assert len(most) == 100
    assert max(most) <= 2 * len(make_plan(table, 3).fits)


def test_repeats_of_the_folds_are_runs_of_other_seeds_and_their_mean(make_table, data):
    table = make_table(*data)
    found = evaluate_head(table, "lda", shrinkage=0.5, repeats_cv=3)
    first = evaluate_head(table, "lda", shrinkage=0.5)
    assert found.protocol == "5-fold, mean of 3 repeats"
    assert (found.fold == first.fold).all()
    assert found.temperature == first.temperature
    assert found.draws is not None
    assert found.draws.shape == (3, 75, 3)
    np.testing.assert_array_equal(found.draws[0], first.probabilities)
    right = found.draws.argmax(axis=2) == table.y
    assert found.metrics["accuracy"].value == pytest.approx(right.mean())
    assert len(set(right.mean(axis=1))) > 1
    assert found.recipe.options == {"shrinkage": 0.5, "repeats_cv": 3}
    assert found.recipe.draws == 3
    again = found.recipe.evaluate(table, 0)
    np.testing.assert_array_equal(again.draws, found.draws)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats_cv": 3, "max_per_class": 5}, "3 repeats of the folds, and 5 images a class"),
        ({"repeats_cv": 1}, r"1 repeats of the folds.\nUse --repeats-cv 2 or more"),
        ({"repeats": 3}, r"add --max-per-class 10, say; or .* anew: --repeats-cv 3"),
    ],
)
def test_repeats_that_make_no_sense_are_refused(make_table, data, options, message):
    with pytest.raises(DataError, match=message):
        evaluate_head(make_table(*data), "lda", **options)


def test_folds_are_not_repeated_where_a_validation_split_is_scored(make_table, data):
    split = np.where(np.arange(75) % 3 == 0, "validation", "train")
    with pytest.raises(DataError, match=r"has a validation split.*\nLeave --repeats-cv out"):
        evaluate_head(make_table(*data, split=split), "lda", repeats_cv=3)
