"""``tlx learning-curve``: whether more images would help."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DEFAULT_WORKSPACE,
    ClusterOption,
    DatasetOption,
    JsonOption,
    SeedOption,
    WorkspaceOption,
    emit,
    note,
    say,
)
from .progress import progress
from .render import percent, table

if TYPE_CHECKING:
    from ..classify.curve import LearningCurve


def learning_curve(
    model: Annotated[str, typer.Option(help="Which head: {heads}.")] = "logreg",
    dataset: DatasetOption = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="A backbone, or the first digits of a fingerprint; by default those embedded last."
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(help="Folds of cross-validation, if there is no validation split.")
    ] = 5,
    repeats: Annotated[
        int,
        typer.Option(min=2, max=1000, help="Random orders in which images are added, at least 2."),
    ] = 5,
    cluster: ClusterOption = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curve into this .png, .svg or .pdf file.")
    ] = None,
    seed: SeedOption = 0,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy against images a class, and say what twice the images would bring.

    All points are scored on the same held-out images.
    """
    from ..classify.curve import learning_curve as measure
    from ..classify.plots import check_plot, plot_curve

    if plot is not None:
        check_plot(plot)
    with progress("Measuring", counted=False) as show:
        curve = measure(
            model,
            dataset=dataset,
            features=features,
            workspace=workspace,
            folds=folds,
            repeats=repeats,
            seed=seed,
            cluster=cluster,
            progress=show,
        )
    if plot is not None:
        plot_curve(curve, plot)
        note(f"picture written to {plot}")
    emit(asdict(curve)) if as_json else say(as_text(curve))


def as_text(curve: LearningCurve) -> str:
    """Return what a person wants to read."""
    rows: list[list[Any]] = [
        [
            f"{point.per_class:.0f}",
            f"{point.n_train:.0f}",
            f"{point.accuracy.value:.4f}",
            f"{point.accuracy.low:.4f} to {point.accuracy.high:.4f}",
        ]
        for point in curve.points
    ]
    lines = [
        f"{curve.model} on {curve.dataset!r}: each point scored on the same {curve.n} images "
        f"({curve.protocol})",
        "",
        table(["images a class", "images", "accuracy", "95% interval"], rows),
        "",
        forecast(curve),
    ]
    return "\n".join(lines)


def forecast(curve: LearningCurve) -> str:
    """Return in a sentence what twice the images would bring."""
    double = curve.doubled
    if double is None:
        return f"What twice the images would bring cannot be told:\n{curve.reason}."
    accuracy, gain = double.accuracy, double.gain
    told = (
        f"Twice the images ({double.per_class:.0f} a class) would bring about "
        f"{percent(accuracy.value)} ({percent(accuracy.low)} to {percent(accuracy.high)}), "
    )
    if gain.low <= 0:
        most = max(gain.high, -gain.low)
        told += f"within ±{_points(most)} points of today: a gain is not beyond chance."
        return textwrap.fill(told, 80)
    told += (
        f"a gain of {_points(gain.value)} points ({_points(gain.low)} to "
        f"{_points(gain.high)}), if the error goes on falling as it did (power law)."
    )
    return textwrap.fill(told, 80)


def _points(share: float) -> str:
    return f"{100 * share:.1f}"
