"""All heads, read from the files beside this one, and the one way to fit any of them.

Evaluation needs every fold at every point of the grid. Each head shares between them what it can:
logistic regression and the support vector machine all their matrix products, ridge and linear
discriminant analysis one eigendecomposition a problem for the whole grid, nearest neighbours the
neighbours. The dense head stops early instead of searching a grid.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import FitError, UnknownNameError
from ...lazy_imports import import_beside
from ...progress import Progress, share, silent
from ..large import is_large
from .external import head_of, is_estimator
from .head import GridPoint, Head, Problems
from .weighting import class_weights

Member = tuple[Head, dict[str, Any], dict[str, list[float]]]  # with its options and its grid

ALIASES = {"auto": "vote"}  # what else a head is called: the one to take without a look at others


@functools.cache
def heads() -> Mapping[str, Head]:
    """Return all heads by name, in the order of their names.

    They are the modules of `tlx.classify.heads` that have a `HEAD`. None of these imports
    TensorFlow or scikit-learn before it fits something.
    """
    modules = import_beside(__package__ or "")
    found = [module.HEAD for module in modules if isinstance(getattr(module, "HEAD", None), Head)]
    return {head.name: head for head in sorted(found, key=lambda head: head.name)}


def get_head(model: Any) -> Head:
    """Return the head of that name; a classifier of scikit-learn's kind becomes one.

    Raises
    ------
    UnknownNameError
        If there is none.

    Examples
    --------
    >>> get_head("logreg").help
    'logistic regression'
    """
    if isinstance(model, Head):
        return model
    model = ALIASES.get(model, model) if isinstance(model, str) else model
    if is_estimator(model):
        return head_of(model)
    if not isinstance(model, str):
        if isinstance(model, type):
            raise FitError(f"{model.__name__} is a class.", f"Pass {model.__name__}().")
        raise FitError(
            f"{model!r:.80} is no head.",
            f"Use one of {', '.join(heads())}, or a classifier of scikit-learn.",
        )
    if model not in heads():
        raise UnknownNameError.nearest("model", model, heads())
    return heads()[model]


def resolve(
    model: Any,
    given: Mapping[str, Any],
    grid: Mapping[str, Sequence[float]] | None = None,
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Return the grid to search, and all other options of a head with their defaults.

    Parameters
    ----------
    model : str, Head or classifier
    given : mapping
        Options by name; one that is searched otherwise is then the only candidate.
    grid : mapping, optional
        Candidates instead of the head's own.

    Raises
    ------
    UnknownNameError
        If there is no such head.
    FitError
        If it has no such option, no such grid, or a value makes no sense.

    Examples
    --------
    >>> resolve("svm", {"C": 0.5})
    ({'C': [0.5]}, {'class_weight': None})
    """
    head = get_head(model)
    for name in given:
        if not head.takes(name):
            able = [other.name for other in heads().values() if other.takes(name)]
            own = ", ".join(option.name for option in head.options) or "none"
            hint = f"Heads that have it: {', '.join(able)}." if able else f"It has: {own}."
            raise FitError(f"{head.name} has no option {name!r}.", hint)
    if grid is not None and grid.keys() != head.grid.keys():
        raise FitError(
            f"{head.name} has no grid over {', '.join(grid) or 'nothing'}.",
            f"It has one over {', '.join(head.grid) or 'nothing'}.",
        )
    searched: dict[str, list[float]] = {}
    fixed: dict[str, Any] = {}
    for option in head.options:
        value = given.get(option.name, option.default)
        if option.grid and option.name not in given:
            searched[option.name] = values = list((grid or head.grid)[option.name])
        elif option.grid:
            searched[option.name] = values = [value]
        else:
            fixed[option.name], values = value, [value]
        for each in values:
            option.check(head.name, each)
    return searched, fixed


def each_member(
    head: Head,
    given: Mapping[str, Any],
    grid: Mapping[str, Sequence[float]] | None = None,
) -> list[Member]:
    """Return the heads that one is made of, each with its own options and grid; else it alone.

    Parameters
    ----------
    head : Head
    given, grid : mapping
        See `resolve`, which refuses what the head does not have.

    Examples
    --------
    >>> members = each_member(get_head("vote"), {"C": 1.0}, None)
    >>> [(member.name, given, list(grid)) for member, given, grid in members]
    [('logreg', {'C': 1.0}, ['C']), ('lda', {}, ['shrinkage'])]
    """
    searched = resolve(head, given, grid)[0]
    return [
        (
            member,
            {name: value for name, value in given.items() if member.takes(name)},
            {name: searched[name] for name in member.grid},
        )
        for member in head.members or (head,)
    ]


def points(grid: Mapping[str, Sequence[float]]) -> int:
    """Return how many points a grid has."""
    return int(np.prod([len(values) for values in grid.values()]))


def fit_grid(
    model: Any,
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    grid: Mapping[str, Sequence[float]] | None = None,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    progress: Progress = silent,
    **options: Any,
) -> Iterator[GridPoint]:
    """Fit every problem at every point of the grid, the strongest regularisation first.

    Parameters
    ----------
    model : str, Head or classifier
    X : ndarray of shape (N, D), float32
    y : ndarray of shape (N,), int
    weights : ndarray of shape (F, N)
        A row a problem, zero for images held out.
    grid : mapping, optional
        Candidates by parameter; by default the head's own.
    groups : ndarray of shape (N,), int, optional
        Where a head holds out some of its rows (to stop early, to scale its probabilities), groups
        stay whole. By default each row is its own.
    seed : int, default=0
        Of those rows held out, and of all else that is random.
    progress : Progress, optional
        Told how much of the grid is done, each time that the next point is asked for.
    **options
        Of the head; one that is searched otherwise is fixed.

    Yields
    ------
    GridPoint

    Raises
    ------
    UnknownNameError
        If there is no such model.
    FitError
        If the model does not have such an option, a feature is not finite, or a problem has one
        class only.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.array([[0.0], [1.0], [9.0], [8.0]], np.float32), np.array([0, 0, 1, 1])
    >>> (point,) = fit_grid("ridge", X, y, np.ones((1, 4)), alpha=1.0)
    >>> point.head(0).predict_proba(X).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    head = get_head(model)
    grid, options = resolve(head, options, grid)
    balance = options.pop("class_weight", None)
    weighed = np.stack([w * class_weights(y, balance, w > 0) for w in weights])
    _check(X, y, weighed)
    groups = np.arange(len(y)) if groups is None else groups
    told = share(progress, 0, 1, 1)
    problems = Problems(X, y, weighed, groups, seed, told)
    for done, point in enumerate(head.fit(problems, grid, **options), 1):
        yield point
        told(done, points(grid))


def _check(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> None:
    """Refuse features that are not finite, and problems with one class."""
    # Many rows are looked at as they are read: see `tlx.classify.heads.sums`.
    if not is_large(X) and not (
        np.isfinite(X.min(axis=0)).all() and np.isfinite(X.max(axis=0)).all()
    ):
        raise FitError(
            "a feature is not finite in some row.",
            "Remove the rows whose features are NaN or infinite.",
        )
    if not np.isfinite(weights).all() or weights.min(initial=0) < 0:
        raise FitError("a sample weight is negative or not finite.", "Pass weights of 0 or more.")
    for problem, weight in enumerate(weights):
        if len(np.unique(y[weight > 0])) < 2:
            raise FitError(
                f"the training rows of problem {problem} have one class only.",
                "Use fewer folds, or more images of the rarest class.",
            )
