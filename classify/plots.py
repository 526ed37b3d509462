"""Pictures of comparisons and learning curves, drawn with matplotlib (extra ``plot``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from .compare import Comparison
    from .curve import LearningCurve

_BLUE, _GREY, _ORANGE = "#1f6fb2", "#8a8a8a", "#d9822b"


def plot_comparison(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Draw each run's metric and its difference from the best, with their 95% intervals.

    Parameters
    ----------
    comparison : Comparison
    path : path
        Its suffix says the format: ``.png``, ``.svg``, ``.pdf``.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    DataError
        If the suffix is none that matplotlib can write.
    """
    rows = comparison.rows
    figure = _figure(9, 1.3 + 0.36 * len(rows))
    left, right = figure.subplots(1, 2, sharey=True)
    metric = comparison.metric.replace("_", " ")
    places = np.arange(len(rows))
    _intervals(left, [(r.metric.value, r.metric.low, r.metric.high) for r in rows])
    _intervals(right, [(r.difference.value, r.difference.low, r.difference.high) for r in rows])
    right.axvline(0, color=_GREY, linewidth=1, linestyle="--", zorder=0)
    left.set_yticks(places, [row.run.id for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=5)  # of four decimals and a sign
    left.set_xlabel(metric)
    right.set_xlabel(f"difference in {metric} from {comparison.best.id}")
    figure.suptitle(
        f"{comparison.dataset}: {comparison.n} images, {comparison.protocol}, 95% intervals",
        fontsize=10,
    )
    _save(figure, path)


def plot_curve(curve: LearningCurve, path: str | os.PathLike[str]) -> None:
    """Draw accuracy against images a class, its intervals, and the extrapolation if there is one.

    Parameters
    ----------
    curve : LearningCurve
    path : path
        Its suffix says the format: ``.png``, ``.svg``, ``.pdf``.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    DataError
        If the suffix is none that matplotlib can write.
    """
    figure = _figure(6.5, 4)
    axes = figure.subplots()
    x = np.array([point.per_class for point in curve.points])
    y = np.array([point.accuracy.value for point in curve.points])
    low = np.array([point.accuracy.low for point in curve.points])
    high = np.array([point.accuracy.high for point in curve.points])
    axes.errorbar(x, y, [y - low, high - y], fmt="o-", color=_BLUE, capsize=3, label="measured")
    double = curve.doubled
    if double is not None:
        n = np.geomspace(x[0], double.per_class, 100)
        axes.plot(n, double.at(n), "--", color=_ORANGE, linewidth=1, label="fitted power law")
        value = double.accuracy
        axes.errorbar(
            [double.per_class],
            [value.value],
            [[value.value - value.low], [value.high - value.value]],
            fmt="s",
            color=_ORANGE,
            capsize=3,
            label="twice the images",
        )
    ticks = [*x.tolist(), *([double.per_class] if double else [])]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("training images a class")
    axes.set_ylabel("accuracy")
    axes.set_title(
        f"{curve.model} on {curve.dataset}: {curve.n} held-out images, 95% intervals", fontsize=10
    )
    axes.grid(alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def check_plot(path: str | os.PathLike[str]) -> None:
    """Refuse a picture that could not be written, before the work whose result it would show."""
    figure = _figure(1, 1)
    known = figure.canvas.get_supported_filetypes()
    if Path(path).suffix.lower().lstrip(".") not in known:
        raise DataError(f"{path} is no picture that can be drawn.", "Name it plot.png, say.")


def _figure(width: float, height: float) -> Any:
    """Return an empty figure that belongs to no window and no global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError.of("matplotlib", "plot") from error
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _intervals(axes: Any, rows: list[tuple[float, float, float]]) -> None:
    value, low, high = np.array(rows).T
    places = np.arange(len(rows))
    axes.errorbar(value, places, xerr=[value - low, high - value], fmt="o", color=_BLUE, capsize=3)
    axes.plot(value[:1], places[:1], "o", color=_ORANGE, zorder=3)
    axes.grid(axis="x", alpha=0.25)


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write the picture whole or not at all."""
    import io

    from ..cache.files import write_output

    check_plot(path)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=Path(path).suffix.lower().lstrip("."))
    write_output(path, buffer.getvalue())
