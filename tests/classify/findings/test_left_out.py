import numpy as np
import pytest

from tlx.classify import large
from tlx.classify.findings.left_out import learned_rows, values_left_out


def fitted_without(X, y, groups, alpha, scaled):
    """Return what least squares say of each group that they have not seen."""
    Z, T = scaled(X), np.eye(y.max() + 1)[y]
    out = np.empty(T.shape)
    for group in np.unique(groups):
        rest, own = groups != group, groups == group
        mean, level = Z[rest].mean(axis=0), T[rest].mean(axis=0)
        A = Z[rest] - mean
        W = np.linalg.solve(A.T @ A + alpha * np.eye(Z.shape[1]), A.T @ (T[rest] - level))
        out[own] = (Z[own] - mean) @ W + level
    return out


@pytest.mark.parametrize("n", [30, 90])  # fewer rows than features, and more
def test_values_are_those_of_fits_without_the_group(n, draw, scaled):
    X, y = draw(n, classes=3, dim=40)
    groups = np.arange(n) // 2
    found = values_left_out(X, y, groups)
    eigen = np.linalg.eigvalsh(np.cov(scaled(X).T, bias=True) * n)[-min(n, 40) :].mean()
    fits = [fitted_without(X, y, groups, a * eigen, scaled) for a in np.logspace(-2, 3, 11)]
    errors = [np.square(np.eye(3)[y] - fit).sum() for fit in fits]
    assert found == pytest.approx(fits[int(np.argmin(errors))], abs=2e-3)


def test_copies_of_one_group_do_not_speak_for_each_other(draw):
    X, y = draw(200, spread=0.5)
    X[:10], y[:10] = X[0], 1 - y[0]  # one image ten times, under the wrong label
    apart = values_left_out(X, y, np.arange(200))[0]
    together = values_left_out(X, y, np.r_[np.zeros(10, int), np.arange(10, 200)])[0]
    assert together[y[0]] < apart[y[0]]
    assert together[y[0]] < 0.3


@pytest.fixture
def few_fit(monkeypatch):
    monkeypatch.setattr(large, "MEMORY", 1000)
    monkeypatch.setattr(large, "SAMPLE", 600)


@pytest.mark.parametrize("dim", [20, 700])  # more rows are learned from than there are features
def test_of_many_rows_some_are_learned_from_and_all_are_judged(dim, draw, few_fit, monkeypatch):
    X, y = draw(3000, classes=3, dim=dim, spread=1.5)
    groups = np.arange(3000) // 2
    wrong = np.arange(0, 3000, 40)
    y[wrong] = (y[wrong] + 1) % 3
    some = values_left_out(X, y, groups)
    assert np.array_equal(some, values_left_out(X, y, groups))
    with monkeypatch.context() as patch:
        patch.setattr(large, "MEMORY", 2**28)
        every = values_left_out(X, y, groups)
    assert (some.argmax(axis=1) == every.argmax(axis=1)).mean() > 0.97
    assert (some.argmax(axis=1) != y)[wrong].mean() > 0.97


def test_what_is_not_learned_from_is_what_a_fit_to_the_others_says(draw, few_fit, monkeypatch):
    X, y = draw(2000, classes=3, dim=20)
    groups, learned = np.arange(2000), learned_rows(y, np.arange(2000))
    values = values_left_out(X, y, groups)
    row = np.setdiff1d(groups, learned)[:1]
    monkeypatch.setattr(large, "MEMORY", 2**28)
    alone = values_left_out(X[learned], y[learned], groups[learned])
    assert np.array_equal(values[learned], alone)
    with_it = np.r_[learned, row]
    left_out = values_left_out(X[with_it], y[with_it], groups[with_it])[-1]
    assert values[row[0]] == pytest.approx(left_out, abs=1e-3)


def test_rare_classes_are_learned_from_and_groups_are_not_parted(few_fit):
    y, groups = np.zeros(6000, int), np.arange(6000) // 3
    y[100:110], y[1000:1200] = 2, 3  # there is none of class 1
    drawn = learned_rows(y, groups)
    assert np.isin(np.arange(100, 110), drawn).all()
    assert 50 <= (y[drawn] == 3).sum() < 120
    assert len(drawn) < 750
    assert not np.isin(groups[np.setdiff1d(np.arange(6000), drawn)], groups[drawn]).any()


def test_a_group_of_most_rows_is_learned_from_if_a_class_has_no_other(few_fit):
    y = np.r_[np.zeros(900, int), np.ones(900, int)]
    assert set(y[learned_rows(y, np.r_[np.arange(900), np.full(900, 901)])]) == {0, 1}
