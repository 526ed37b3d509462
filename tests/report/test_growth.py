import numpy as np

import tlx
from tlx.classify.curve import LearningCurve, Point
from tlx.classify.scoring.doubling import extrapolate
from tlx.classify.scoring.intervals import Metric
from tlx.progress import silent
from tlx.report.growth import gain, growth, measure
from tlx.workspace import Workspace


def curve(sizes, accuracies):
    points = [
        Point(n, 2.0 * n, Metric(a, a - 0.02, a + 0.02), [a])
        for n, a in zip(sizes, accuracies, strict=True)
    ]
    rng = np.random.default_rng(0)
    right = [(rng.random((5, 2000)) < a).astype(float) for a in accuracies]
    doubled, reason = extrapolate(sizes, right, np.arange(2000), points[-1].accuracy, 0, 1)
    return LearningCurve("lda", "data", "validation split", 2000, points, doubled, reason)


def test_it_is_that_of_the_head_of_the_run(studio):
    place = Workspace(studio / ".tlx")
    found = measure(tlx.load_run("lda-1", place), place, silent)
    assert (found.model, found.dataset) == ("lda", "data")


def test_too_few_images_are_a_reason(class_folders, make_grid, tmp_path):
    class_folders(tmp_path / "data", {"a": 2, "b": 2})
    tlx.embed_images(tmp_path / "data", workspace=tmp_path / ".tlx", engine=make_grid())
    place = Workspace(tmp_path / ".tlx")
    run = tlx.fit_head("centroid", folds=2, workspace=place)
    assert "makes no curve" in measure(run, place, silent)


def test_the_chart_goes_on_to_twice_the_images():
    found = growth(curve([10, 20, 40, 80], [0.7, 0.78, 0.84, 0.88]))
    assert found["chart"].count("<polyline") == 2
    assert [row[0] for row in found["rows"]] == ["10", "20", "40", "80"]
    assert found["told"].endswith("by twice the images")


def test_what_is_not_known_is_said():
    short = curve([10, 20], [0.7, 0.8])
    assert gain(short) == ""
    assert "is not known: " in growth(short)["told"]
    assert growth(short)["chart"].count("<polyline") == 1
