"""The section with the learning curve: what more images would bring."""

from __future__ import annotations

from typing import Any

from ..classify.curve import LearningCurve, learning_curve
from ..classify.heads.registry import heads
from ..classify.runs.run import Run
from ..classify.sources import name_of
from ..errors import DataError
from ..progress import Progress
from ..workspace import Workspace
from .charts import Series, lines


def measure(run: Run, workspace: Workspace, progress: Progress) -> LearningCurve | str:
    """Return the learning curve of a run's head, or why there is none."""
    recipe = run.info.recipe
    try:
        return learning_curve(
            run.info.model if run.info.model in heads() else "logreg",
            dataset=run.info.dataset,
            features=name_of(run.info.sources),
            workspace=workspace,
            folds=recipe.folds if recipe else 5,
            progress=progress,
        )
    except DataError as error:
        return error.cause


def growth(curve: LearningCurve) -> dict[str, Any]:
    """Return the chart of a learning curve, its numbers, and what twice the images would bring."""
    measured = [(point.per_class, point.accuracy.value) for point in curve.points]
    series = [Series("measured", measured, len(measured) - 1)]
    double = curve.doubled
    if double is not None:
        series.append(
            Series("expected", [measured[-1], (double.per_class, double.accuracy.value)], 1)
        )
    return {
        "chart": lines(
            series,
            "training images a class",
            "accuracy",
            f"Accuracy of {curve.model} by training images a class",
            percent=True,
        ),
        "rows": [
            (
                f"{point.per_class:.0f}",
                f"{point.accuracy.value:.1%}",
                f"{point.accuracy.low:.1%} to {point.accuracy.high:.1%}",
            )
            for point in curve.points
        ],
        "told": gain(curve) or f"What twice the images would bring is not known: {curve.reason}.",
    }


def gain(curve: LearningCurve) -> str:
    """Return by how many points twice the images would raise the accuracy; "" if not known."""
    if curve.doubled is None:
        return ""
    value, low, high = (
        100 * each
        for each in (curve.doubled.gain.value, curve.doubled.gain.low, curve.doubled.gain.high)
    )
    return f"{value:+.1f} points ({low:+.1f} to {high:+.1f}) by twice the images"
