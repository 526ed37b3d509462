import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tlx.classify.scoring.intervals import Metric
from tlx.report.charts import Series, interval, lines, reliability, scatter, ticks

HOSTILE = '"><script>alert(1)</script>'


def parsed(svg):
    """Return the chart as XML, which it must be, without anything that CSP would refuse."""
    root = ET.fromstring(svg)
    for element in root.iter():
        assert element.tag != "script"
        assert not {name for name in element.attrib if name.startswith("on")} | (
            {"style"} & set(element.attrib)
        )
    return root


def test_an_interval_has_its_point_within():
    root = parsed(interval(Metric(0.5, 0.4, 0.7), 0.0, 1.0, HOSTILE))
    whisker = next(e for e in root if e.get("class") == "whisker")
    x = float(next(e for e in root if e.get("class") == "dot").get("cx"))
    assert float(whisker.get("x1")) < x < float(whisker.get("x2"))
    assert root.get("aria-label") == HOSTILE
    assert interval(None, 0, 1, "") == "" == interval(Metric(1, 1, 1), 1, 1, "")


def test_a_reliability_diagram_has_a_dot_a_bin():
    bins = [(0.55, Metric(0.5, 0.2, 0.8), 4), (0.99, Metric(1.0, 0.9, 1.0), 90)]
    dots = [e for e in parsed(reliability(bins)).iter() if e.get("class") == "dot"]
    assert [float(dot.get("r")) for dot in dots] == [pytest.approx(3.8, abs=0.1), 7.0]


def test_lines_leave_out_what_is_no_number():
    series = [Series("a", [(0, 0.5), (1, None), (2, 0.1)], marked=2), Series("b", [(0, None)])]
    root = parsed(lines(series, HOSTILE, "loss", "of a"))
    first, second = (e.get("points").split() for e in root if e.tag == "polyline")
    assert (len(first), len(second)) == (2, 0)
    assert [e.get("class") for e in root if e.tag == "circle"] == ["mark k0"]
    assert lines([Series("a", [(0, None)])], "", "", "") == ""


def test_a_line_of_equal_points_can_be_drawn():
    parsed(lines([Series("a", [(0, 1.0), (1, 1.0)])], "epoch", "accuracy", "", percent=True))
    parsed(lines([Series("a", [(0, 0.0)])], "epoch", "loss", ""))


def test_dots_lie_where_they_should():
    root = parsed(scatter(np.array([[0, 0], [1, 0.5]]), ["c0 wrong", HOSTILE], [4, 7]))
    dots = [(e.get("data-i"), e.get("cx"), e.get("cy"), e.get("class")) for e in root]
    assert dots == [("4", "12", "12", "c0 wrong"), ("7", "588", "300", HOSTILE)]


def test_ticks_are_round():
    assert ticks(0.97, 1.0) == [0.97, 0.98, 0.99, 1.0] or len(ticks(0.97, 1.0)) <= 7
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
