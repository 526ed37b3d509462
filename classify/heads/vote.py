"""Logistic regression and discriminant analysis together: the mean of their logits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .head import CLASS_WEIGHT, GridPoint, Head, PredictorPoint, Problems
from .lda import HEAD as LDA
from .linear import LinearPredictor, average
from .logistic import HEAD as LOGREG

_MEMBERS = (LOGREG, LDA)


def _fit(problems: Problems, grid: Mapping[str, Sequence[float]]) -> Iterator[GridPoint]:
    """Yield the mean at every combination of points, the members as they are.

    Evaluation asks for no combination: it chooses a point for each member by itself.
    """
    paths: list[list[Any]] = [
        list(member.fit(problems, {name: grid[name] for name in member.grid}))
        for member in _MEMBERS
    ]
    for points in itertools.product(*paths):
        params = {name: value for point in points for name, value in point.params.items()}
        heads = [average([p.head(k) for p in points]) for k in range(len(problems.weights))]
        yield PredictorPoint(params, problems.X, heads)


HEAD = Head(
    name="vote",
    help="the mean of logreg and lda",
    estimator="VoteHead",
    notes=(
        "The mean of the logits of `LogisticHead` and `LDAHead`, so it is linear as they are. "
        "`tlx.fit_head` chooses the parameter of each by itself, and calibrates each by what inner "
        "folds held out before it takes the mean. Here, and where both parameters are given, they "
        "are as they are."
    ),
    fit=_fit,
    predictors=(LinearPredictor,),
    options=(
        *(option for member in _MEMBERS for option in member.options if option.grid),
        CLASS_WEIGHT,
    ),
    members=_MEMBERS,
    seeds=True,
    cost=sum(member.cost for member in _MEMBERS),
)
