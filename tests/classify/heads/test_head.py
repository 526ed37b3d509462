"""The contract that every head keeps; the dense one, which needs TensorFlow, in `test_dense`."""

from __future__ import annotations

import numpy as np
import pytest

import tlx.heads
from tlx.classify.heads.head import CLASS_WEIGHT, Option
from tlx.classify.heads.linear import LinearPredictor
from tlx.classify.heads.predictors import load_predictor
from tlx.classify.heads.registry import fit_grid, heads
from tlx.errors import FitError

LIGHT = [name for name in heads() if name != "dense"]
LINEAR = [name for name in LIGHT if heads()[name].predictors == (LinearPredictor,)]
CASES = {
    # name: (images, classes, features)
    "two classes": (60, 2, 8),
    "four classes": (80, 4, 8),
    "more features than images": (40, 2, 120),
    "ten images": (10, 2, 6),
}


def estimator(name, **params):
    return getattr(tlx.heads, heads()[name].estimator)(**params)


@pytest.mark.parametrize("head", heads().values(), ids=heads())
def test_a_head_says_what_it_is(head):
    assert head.name.isidentifier()
    assert head.help
    assert not head.help.endswith(".")
    assert head.notes.endswith(".")
    assert head.estimator.endswith("Head")
    assert len({option.name for option in head.options}) == len(head.options)
    for option in head.options:
        assert option.help
        assert not option.help.endswith(".")
        assert not option.choices or option.type is str
        option.check(head.name, option.default)
        for value in option.grid:
            option.check(head.name, value)


def test_what_several_heads_have_is_the_same_everywhere():
    """So that one option of the command line stands for all of them."""
    first = {}
    for head in heads().values():
        for option in head.options:
            known = first.setdefault(option.name, option)
            assert (option.help, option.type, option.choices) == (
                known.help,
                known.type,
                known.choices,
            )


def test_an_option_refuses_what_makes_no_sense():
    with pytest.raises(FitError, match=r"logreg cannot have C = -1.\nUse more than 0"):
        heads()["logreg"].options[0].check("logreg", -1)
    with pytest.raises(FitError, match=r"unknown class weight: 'even'.\nUse balanced"):
        CLASS_WEIGHT.check("logreg", "even")
    Option("any", "Anything", float, 1.0).check("logreg", "anything")


@pytest.mark.parametrize("name", LIGHT)
def test_a_head_that_can_seed_a_network_has_layers(name, draw):
    X, y = draw(40, 3)
    head = next(fit_grid(name, X, y, np.ones((1, 40)))).head(0)
    assert hasattr(head, "dense_layers") == heads()[name].seeds
    if heads()[name].seeds:
        hidden = X.astype(np.float64)
        for weights, bias in head.dense_layers():
            hidden = hidden @ weights + bias
        e = np.exp(hidden - hidden.max(axis=1, keepdims=True))
        expected = e / e.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(head.predict_proba(X), expected, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", LIGHT)
def test_probabilities_are_finite_and_sum_to_one(name, case, draw):
    n, classes, dim = CASES[case]
    X, y = draw(n, classes, dim)
    head = estimator(name).fit(X, y)
    new, truth = draw(200, classes, dim, seed=1)
    p = head.predict_proba(new)
    assert p.shape == (200, classes)
    assert np.isfinite(p).all()
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-9)
    assert (head.predict(new) == truth).mean() > 1.3 / classes


@pytest.mark.parametrize("name", LIGHT)
def test_classes_may_be_strings(name, draw):
    X, y = draw(60)
    names = np.array(["cat", "dog"])[y]
    head = estimator(name).fit(X, names)
    assert head.classes_.tolist() == ["cat", "dog"]
    assert set(head.predict(X)) <= {"cat", "dog"}


@pytest.mark.parametrize("name", LIGHT)
def test_the_same_data_gives_the_same_head(name, draw):
    X, y = draw(60, 3)
    first, second = (estimator(name).fit(X, y).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", LIGHT)
def test_a_constant_feature_is_harmless(name, draw):
    X, y = draw(60)
    X[:, 3] = 0.1  # whose mean is not exactly 0.1
    p = estimator(name).fit(X, y).predict_proba(X)
    assert np.isfinite(p).all()
    if name != "knn":
        X[:, 3] = 7
        np.testing.assert_allclose(estimator(name).fit(X, y).predict_proba(X), p, atol=1e-5)


@pytest.mark.parametrize("name", LIGHT)
def test_very_uneven_classes(name, draw):
    X, y = draw(200)
    rare = np.flatnonzero(y == 1)[3:]
    X, y = np.delete(X, rare, axis=0), np.delete(y, rare)
    p = estimator(name).fit(X, y).predict_proba(X)
    assert np.isfinite(np.log(p)).all()


@pytest.mark.parametrize("name", LIGHT)
def test_a_class_with_one_image(name, draw):
    X, y = draw(31, 2)
    y[0] = 2
    assert np.isfinite(estimator(name).fit(X, y).predict_proba(X)).all()


@pytest.mark.parametrize("name", LIGHT)
def test_half_precision_features(name, draw):
    X, y = draw(60)
    half = X.astype(np.float16)
    np.testing.assert_allclose(
        estimator(name).fit(half, y).predict_proba(half),
        estimator(name).fit(half.astype(np.float64), y).predict_proba(half),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", [n for n in LIGHT if heads()[n].takes("class_weight")])
def test_balanced_weights_favour_the_rare_class(name, draw):
    X, y = draw(120, spread=4.0)
    rare = np.flatnonzero(y == 1)[10:]
    X, y = np.delete(X, rare, axis=0), np.delete(y, rare)
    plain, balanced = (
        estimator(name, class_weight=w).fit(X, y).predict_proba(X)[:, 1].mean()
        for w in (None, "balanced")
    )
    assert balanced > plain


@pytest.mark.parametrize("name", LIGHT)
def test_one_class_is_refused(name, draw):
    X, _ = draw(20)
    with pytest.raises(FitError, match="one class only: 'cat'"):
        estimator(name).fit(X, ["cat"] * 20)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", LINEAR)
def test_linear_heads_are_their_weights(name, classes, draw):
    """The decision is recomputed from (D, C) and (C,) on raw features of odd scales."""
    X, y = draw(80, classes)
    X = (X + 5) * np.logspace(-3, 3, X.shape[1], dtype=np.float32)
    head = estimator(name).fit(X, y)
    linear = head.predictor_
    assert linear.weights.shape == (X.shape[1], classes)
    assert linear.bias.shape == (classes,)
    logits = X.astype(np.float64) @ linear.weights.astype(np.float64) + linear.bias
    decision = logits[:, 1] - logits[:, 0] if classes == 2 else logits
    scale = np.abs(decision).max()
    np.testing.assert_allclose(head.decision_function(X), decision, atol=1e-4 * scale)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        head.predict_proba(X), e / e.sum(axis=1, keepdims=True), atol=1e-4 * max(1, scale)
    )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", LIGHT)
def test_a_saved_head_predicts_the_same(name, classes, draw, tmp_path):
    X, y = draw(80, classes)
    step = next(iter(fit_grid(name, X, y, np.ones((1, len(X))))))
    head = step.head(0)
    assert type(head) in heads()[name].predictors
    assert (head.n_features, head.n_classes) == (X.shape[1], classes)
    assert len(repr(head)) < 80
    parts = head.parts()
    for part, data in parts.items():
        (tmp_path / part).write_bytes(data)
    again = load_predictor(tmp_path, parts)
    np.testing.assert_allclose(again.predict_proba(X), head.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(again.predict_proba(X), step.proba(0, np.arange(80)), atol=1e-5)


@pytest.mark.parametrize("name", LIGHT)
def test_rows_held_out_have_no_influence(name, draw):
    X, y = draw(80, 3)
    weights = np.ones((2, 80))
    weights[0, :30] = 0
    weights[1, 40:] = 0
    changed, labels = X.copy(), y.copy()
    changed[:30] = 1000 * X[:30][::-1]
    labels[:30] = 0
    mine = np.arange(30, 80)
    for a, b in zip(
        fit_grid(name, X, y, weights), fit_grid(name, changed, labels, weights), strict=True
    ):
        np.testing.assert_allclose(a.proba(0, mine), b.proba(0, mine), atol=2e-3)


@pytest.mark.parametrize("name", LIGHT)
def test_a_problem_does_not_feel_its_neighbours(name, draw):
    """A fold fitted beside others is the fold fitted alone."""
    X, y = draw(60)
    weights = np.ones((3, 60))
    weights[0, ::3] = weights[1, 1::3] = weights[2, 2::3] = 0
    together = list(fit_grid(name, X, y, weights))
    alone = list(fit_grid(name, X, y, weights[1:2]))
    rows = np.arange(1, 60, 3)
    for a, b in zip(together, alone, strict=True):
        assert a.params == b.params
        np.testing.assert_allclose(a.proba(1, rows), b.proba(0, rows), atol=2e-3)
