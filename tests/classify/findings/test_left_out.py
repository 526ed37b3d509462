import numpy as np
import pytest

from tlx.classify.findings.left_out import values_left_out


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
