"""``tlx learning-curve``: table, forecast and picture."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from tlx.classify.curve import LearningCurve, Point
from tlx.classify.scoring.doubling import Doubled
from tlx.classify.scoring.metrics import Metric
from tlx.cli.learning_curve import as_text


def test_json_has_points_on_the_same_images(shared_project, run_tlx) -> None:
    found = json.loads(
        run_tlx("learning-curve", "--model", "centroid", "--json", cwd=shared_project).stdout
    )
    assert (found["model"], found["n"]) == ("centroid", 37)
    sizes = [point["per_class"] for point in found["points"]]
    assert sizes == sorted(sizes)
    assert found["doubled"] is None or found["doubled"]["per_class"] == 2 * sizes[-1]


def test_picture_and_text(shared_project, run_tlx, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "curve.png"
    text = run_tlx("learning-curve", "--repeats", 2, "--plot", plot, cwd=shared_project).stdout
    assert "each point scored on the same 37 images (5-fold)" in text
    assert max(map(len, text.splitlines())) <= 100
    with Image.open(plot) as picture:
        assert picture.format == "PNG"


def test_one_repeat_is_refused(shared_project, run_tlx) -> None:
    told = run_tlx("learning-curve", "--repeats", 1, cwd=shared_project, code=2).stderr
    assert "'--repeats': Input should be greater than or equal to 2" in told


def point(n: float) -> Point:
    return Point(n, 2 * n, Metric(0.9, 0.85, 0.93), [0.9, 0.9])


def test_forecast_is_a_sentence() -> None:
    doubled = Doubled(80, Metric(0.95, 0.94, 0.96), Metric(0.02, 0.01, 0.03), 0.01, 0.5, 0.5)
    curve = LearningCurve("svm", "d", "5-fold", 100, [point(20), point(40)], doubled, "")
    text = " ".join(as_text(curve).split())
    assert "Twice the images (80 a class) would bring about 95.0% (94.0% to 96.0%)," in text
    assert "a gain of 2.0 points (1.0 to 3.0)" in text


def test_a_gain_within_chance_is_told_by_its_size() -> None:
    doubled = Doubled(80, Metric(0.99, 0.98, 1), Metric(0.001, -0.008, 0.011), 0.01, 0.5, 0.5)
    curve = LearningCurve("svm", "d", "5-fold", 100, [point(20), point(40)], doubled, "")
    text = as_text(curve)
    assert max(map(len, text.splitlines())) <= 80
    assert " ".join(text.split()).endswith(
        "within ±1.1 points of today: a gain is not beyond chance."
    )


def test_what_cannot_be_told_is_said_so() -> None:
    curve = LearningCurve("svm", "d", "5-fold", 100, [point(20)], None, "too noisy")
    assert as_text(curve).endswith("cannot be told:\ntoo noisy.")
