"""Time the regularisation path of logistic regression against scikit-learn.

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE python benchmarks/logistic.py
    python benchmarks/logistic.py --rows 1400 --folds 5 --features my.npz
    python benchmarks/logistic.py --rows 50000 --max-seconds 600

Two comparisons a size, on one machine in one process:

* path: all folds and all Cs, the choice of the best C by mean held-out accuracy, and the refit,
  against ``LogisticRegressionCV`` with the same grid, folds, tolerance and data, scaled as ours;
* single: the same path against one ``LogisticRegression(C=1).fit``.

`--nested` times the commonest use instead: two classes, 5 outer folds with 5 inner ones each and
their refits, 30 problems at 10 Cs.

The features are synthetic unless `--features` names an .npz file with ``X`` (N, D) and ``y`` (N,):
rectified sums of latent factors with a decaying spectrum, like the last layer of a network, and
8% of the labels drawn at random.

Times on a shared machine vary: read the ratios. ``--max-seconds`` bounds scikit-learn: if its whole
cross-validation is estimated to take longer, fewer folds are run (at least one), and the lines say
so; the ratio is then a lower bound, our time for all folds against scikit-learn's for those.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tlx.classify.heads.logistic import logistic_path
from tlx.classify.heads.scaling import pareto_scale

GRID = np.logspace(-4, 1, 10)


def embeddings(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rank = min(d, 256)
    y = rng.integers(classes, size=n)
    spectrum = np.arange(1, rank + 1) ** -0.7
    centres = 0.9 * rng.standard_normal((classes, rank)) * spectrum
    latent = centres[y] + rng.standard_normal((n, rank)) * spectrum
    X = latent.astype(np.float32) @ rng.standard_normal((rank, d), dtype=np.float32)
    X += 0.3 * X.std() * (rng.standard_normal((n, d), dtype=np.float32) - 1)
    np.maximum(X, 0, out=X)
    wrong = rng.random(n) < 0.08
    y[wrong] = rng.integers(classes, size=wrong.sum())
    return X, y


def stratified(y: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Fold of each row: rows are dealt out class by class."""
    order = np.random.default_rng(seed).permutation(len(y))
    order = order[np.argsort(y[order], kind="stable")]
    fold = np.empty(len(y), int)
    fold[order] = np.arange(len(y)) % count
    return fold


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def accuracies(logits: np.ndarray, y: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    predicted = logits[..., 0] > 0 if logits.shape[2] == 1 else logits.argmax(axis=2)
    return ((predicted == y) & held_out).sum(axis=1) / held_out.sum(axis=1)


def our_cv(X: np.ndarray, y: np.ndarray, fold: np.ndarray, tol: float) -> dict[str, Any]:
    held_out = fold == np.arange(fold.max() + 1)[:, None]
    path, seconds = timed(
        lambda: [
            (accuracies(point.logits, y, held_out), point.C, point.converged.all())
            for point in logistic_path(X, y, ~held_out, GRID, tol=tol)
        ]
    )
    accuracy, best, _ = max(path, key=lambda entry: entry[0].mean())
    ones = np.ones((1, len(y)), np.float32)
    _, refit = timed(lambda: list(logistic_path(X, y, ones, [best], tol=tol)))
    return {
        "accuracy": float(accuracy.mean()),
        "by_fold": np.array([entry[0] for entry in path]),  # (Cs, folds)
        "C": best,
        "path": seconds,
        "total": seconds + refit,
        "converged": all(entry[2] for entry in path),
    }


def sklearn_single(Z: np.ndarray, y: np.ndarray, tol: float) -> float:
    from sklearn.linear_model import LogisticRegression

    return timed(lambda: LogisticRegression(C=1.0, tol=tol, max_iter=1000).fit(Z, y))[1]


def sklearn_cv(
    Z: np.ndarray, y: np.ndarray, fold: np.ndarray, tol: float, folds: int
) -> tuple[np.ndarray, float, float]:
    """Held-out accuracy (folds, Cs), the best C and the seconds of the first `folds` folds."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegressionCV

    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", ConvergenceWarning)
    splits = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(folds)]
    options: dict[str, Any] = {
        "Cs": GRID,
        "cv": splits,
        "tol": tol,
        "max_iter": 1000,
        "scoring": "accuracy",
        "use_legacy_attributes": False,
    }
    model: Any = LogisticRegressionCV(**options)
    _, seconds = timed(lambda: model.fit(Z, y))
    return np.reshape(model.scores_, (folds, -1)), float(np.ravel(model.C_)[0]), seconds


def compare(X: np.ndarray, y: np.ndarray, folds: int, tol: float, max_seconds: float) -> None:
    """Print one size's figures. scikit-learn gets its data scaled beforehand, untimed."""
    fold = stratified(y, folds)
    print(f"N = {len(y)}, D = {X.shape[1]}, classes {y.max() + 1}, folds {folds}, tol {tol}")
    ours = our_cv(X, y, fold, tol)
    print(
        f"  tlx      path {ours['path']:7.2f} s, with refit {ours['total']:7.2f} s, "
        f"C {ours['C']:.3g}, accuracy {ours['accuracy']:.4f}, converged {ours['converged']}"
    )
    scale = pareto_scale(X.std(axis=0, dtype=np.float64))
    Z = ((X - X.mean(axis=0, dtype=np.float64)) / scale).astype(np.float32)
    single = sklearn_single(Z, y, tol)
    print(f"  sklearn  one fit at C = 1 {single:.2f} s: our path takes {ours['path'] / single:.2f}")
    run = folds
    if single * len(GRID) * folds > max_seconds:
        run = max(1, int(max_seconds / (len(GRID) * single)))
        print(f"  sklearn  only {run} of {folds} folds, for --max-seconds {max_seconds:g}")
    scores, best, seconds = sklearn_cv(Z, y, fold, tol, run)
    same = ours["by_fold"][:, :run].mean(axis=1).max()
    print(
        f"  sklearn  LogisticRegressionCV {seconds:.2f} s, refit included, C {best:.3g}, "
        f"accuracy {scores.mean(axis=0).max():.4f} (tlx on the same {run} folds {same:.4f})"
    )
    # No extrapolation: with fewer folds than ours, the ratio is a lower bound.
    at_least = "at least " if run < folds else ""
    print(f"  ratio    {at_least}{seconds / ours['total']:.1f} times faster")


def nested(X: np.ndarray, y: np.ndarray, folds: int, tol: float) -> None:
    """Print the time of nested cross-validation, all problems at once, best of three."""
    weight = []
    for i, outer in enumerate(stratified(y, folds) == np.arange(folds)[:, None]):
        inner = stratified(y, folds, seed=i + 1)
        weight += [~outer, *(~outer & (inner != j) for j in range(folds))]
    runs = [
        timed(lambda: [p.iterations for p in logistic_path(X, y, np.array(weight), GRID, tol=tol)])
        for _ in range(3)
    ]
    iterations, seconds = min(runs, key=lambda run: run[1])
    print(
        f"nested: N = {len(y)}, D = {X.shape[1]}, classes {y.max() + 1}, {len(weight)} problems, "
        f"{len(GRID)} Cs: {seconds:.2f} s, {sum(iterations)} iterations"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1400, 50_000])
    parser.add_argument("--dim", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--features", help=".npz file with X (N, D) and y (N,), all rows used")
    parser.add_argument("--max-seconds", type=float, default=3600)
    parser.add_argument("--nested", action="store_true", help="only the nested timing")
    options = parser.parse_args()
    if options.features:
        with np.load(options.features) as file:
            sets = [(file["X"], np.unique(file["y"], return_inverse=True)[1])]
    elif options.nested:
        sets = [embeddings(n, options.dim, 2) for n in options.rows[:1]]
    else:
        sets = [embeddings(n, options.dim, options.classes) for n in options.rows]
    for X, y in sets:
        if options.nested:
            nested(X, y, options.folds, options.tol)
        else:
            compare(X, y, options.folds, options.tol, options.max_seconds)


if __name__ == "__main__":
    main()
