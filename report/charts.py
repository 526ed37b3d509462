"""Charts as SVG, made of numbers: their colours are classes of the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from ..classify.scoring.intervals import Metric

COLOURS = 8  # of the palette of Okabe and Ito, which the colour-blind tell apart
_WIDE, _LEFT, _RIGHT, _TOP, _BOTTOM = 360.0, 54.0, 20.0, 12.0, 40.0


class Svg(str):
    """Markup that a template takes as it is: all text in it is escaped."""

    def __html__(self) -> str:
        return str(self)


class Series(NamedTuple):
    """One line of a chart: its name, points (x, y), and which point stands out, if any."""

    name: str
    points: Sequence[tuple[float, float | None]]
    marked: int | None = None


def interval(metric: Metric | None, low: float, high: float, label: str) -> Svg:
    """Return a point with its interval on a line from `low` to `high`, to stand in a table."""
    if metric is None or not high > low:
        return Svg("")

    def x(value: float) -> str:
        return f"{4 + 112 * min(1.0, max(0.0, (value - low) / (high - low))):.1f}"

    zero = f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="1" y2="15"/>' if low < 0 < high else ""
    return Svg(
        f'<svg class="interval" viewBox="0 0 120 16" role="img" aria-label="{escape(label)}">{zero}'
        f'<line class="rail" x1="4" x2="116" y1="8" y2="8"/>'
        f'<line class="whisker" x1="{x(metric.low)}" x2="{x(metric.high)}" y1="8" y2="8"/>'
        f'<circle class="dot" cx="{x(metric.value)}" cy="8" r="4"/></svg>'
    )


def reliability(bins: Sequence[tuple[float, Metric, int]]) -> Svg:
    """Return a reliability diagram: the share of right ones by confidence, with intervals.

    Parameters
    ----------
    bins : sequence of (float, Metric, int)
        Mean confidence, share of right ones with its interval, and number of images.
    """
    frame = _Frame(0.0, 1.0, 0.0, 1.0, 320)
    parts = [frame.axes("confidence", "share that is right", percent=True)]
    corners = frame.x(0), frame.y(0), frame.x(1), frame.y(1)
    parts.append('<line class="ideal" x1="{}" y1="{}" x2="{}" y2="{}"/>'.format(*corners))
    most = max((n for _, _, n in bins), default=1)
    for confidence, right, n in bins:
        x, radius = frame.x(confidence), 3 + 4 * math.sqrt(n / most)
        title = (
            f"{n} images, confidence {confidence:.1%}: {right.value:.1%} right "
            f"({right.low:.1%} to {right.high:.1%})"
        )
        parts.append(
            f'<g><title>{title}</title><line class="whisker" x1="{x}" x2="{x}" '
            f'y1="{frame.y(right.low)}" y2="{frame.y(right.high)}"/>'
            f'<circle class="dot" cx="{x}" cy="{frame.y(right.value)}" r="{radius:.1f}"/></g>'
        )
    return frame.svg("Reliability diagram: the table beside it has the numbers", parts)


def lines(
    series: Sequence[Series], across: str, up: str, label: str, *, percent: bool = False
) -> Svg:
    """Return a chart of lines; a point without a number leaves a gap."""
    points = [(x, y) for one in series for x, y in one.points if y is not None]
    if not points:
        return Svg("")
    xs, ys = zip(*points, strict=True)
    room = 0.08 * (max(ys) - min(ys)) or 0.05 * abs(max(ys)) or 1.0
    top = min(1.0, max(ys) + room) if percent else max(ys) + room
    low = max(0.0, min(ys) - room)
    frame = _Frame(min(xs), max(max(xs), min(xs) + 1), low, top, 240)
    parts = [frame.axes(across, up, percent=percent)]
    for number, one in enumerate(series):
        there = [(frame.x(x), frame.y(y)) for x, y in one.points if y is not None]
        path = " ".join(f"{x},{y}" for x, y in there)
        parts.append(f'<polyline class="line k{number}" points="{path}"/>')
        if one.marked is not None and one.points[one.marked][1] is not None:
            x, y = one.points[one.marked]
            parts.append(
                f'<circle class="mark k{number}" cx="{frame.x(x)}" cy="{frame.y(y or 0)}" r="5"/>'
            )
    return frame.svg(label, parts)


def scatter(places: np.ndarray, classes: Sequence[str], numbers: Sequence[int]) -> Svg:
    """Return dots at places in the unit square.

    Parameters
    ----------
    places : ndarray of shape (N, 2)
    classes : sequence of N str
        Names that the style sheet knows, such as ``"c3 wrong"``.
    numbers : sequence of N int
        Of the photo that each stands for.
    """
    side, edge = 600, 12
    dots = "".join(
        f'<circle class="{escape(names)}" cx="{edge + (side - 2 * edge) * x:.0f}" '
        f'cy="{edge + (side - 2 * edge) * y:.0f}" r="{6 if "wrong" in names else 4}" '
        f'data-i="{number}"/>'
        for (x, y), names, number in zip(places, classes, numbers, strict=True)
    )
    top = (side - 2 * edge) * float(places[:, 1].min())
    height = 2 * edge + (side - 2 * edge) * float(np.ptp(places[:, 1]))
    box = f"0 {top:.0f} {side} {max(height, side / 4):.0f}"
    return Svg(f'<svg class="dots" viewBox="{box}" aria-hidden="true">{dots}</svg>')


class _Frame:
    """Axes of a chart, from data to places."""

    def __init__(self, x0: float, x1: float, y0: float, y1: float, height: float) -> None:
        self._x, self._y, self._height = (x0, x1), (y0, max(y1, y0 + 1e-9)), height

    def x(self, value: float) -> float:
        low, high = self._x
        share = (value - low) / (high - low)
        return round(_LEFT + share * (_WIDE - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self._y
        share = (value - low) / (high - low)
        return round(self._height - _BOTTOM - share * (self._height - _BOTTOM - _TOP), 1)

    def axes(self, across: str, up: str, *, percent: bool) -> str:
        parts = []
        for tick in ticks(*self._y):
            y = self.y(tick)
            text = f"{tick:.0%}" if percent and _whole(100 * tick) else f"{tick:.3g}"
            if percent and not _whole(100 * tick):
                text = f"{tick:.1%}"
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDE - _RIGHT}" y1="{y}" y2="{y}"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>'
            )
        whole = not (percent and self._x == (0.0, 1.0))
        for tick in ticks(*self._x):
            if whole and not _whole(tick):
                continue
            text = f"{tick:g}" if whole else f"{tick:.0%}"
            y = self._height - _BOTTOM + 16
            parts.append(f'<text x="{self.x(tick)}" y="{y}" text-anchor="middle">{text}</text>')
        middle = (_LEFT + _WIDE - _RIGHT) / 2
        parts.append(
            f'<text class="title" x="{middle}" y="{self._height - 4}" '
            f'text-anchor="middle">{escape(across)}</text>'
            f'<text class="title" x="{-(self._height - _BOTTOM) / 2}" y="11" '
            f'transform="rotate(-90)" text-anchor="middle">{escape(up)}</text>'
        )
        return "".join(parts)

    def svg(self, label: str, parts: Sequence[str]) -> Svg:
        return Svg(
            f'<svg class="chart" viewBox="0 0 {_WIDE:.0f} {self._height:.0f}" role="img" '
            f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
        )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from `low` to `high`.

    Examples
    --------
    >>> ticks(0, 1), ticks(0.03, 0.11)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.04, 0.06, 0.08, 0.1])
    """
    step = (high - low) / about
    power = 10 ** math.floor(math.log10(step)) if step > 0 else 1.0
    step = power * next(k for k in (1, 2, 5, 10) if k * power >= step * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.10g}") for k in range(first, last + 1)]


def number(value: Any) -> float | None:
    """Return a number of a run's file, which may have been written by anybody; None for others.

    Examples
    --------
    >>> number(0.5), number(True), number(float("nan")), number(10**400), number("1")
    (0.5, None, None, None, None)
    """
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    return float(value) if good else None


def _whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6
