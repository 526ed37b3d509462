"""Learning curves on drawn features."""

from __future__ import annotations

import numpy as np
import pytest

from tlx.classify.curve import curve_of, draw_part, learning_curve
from tlx.errors import DataError

GRID = {"C": [1e-3, 1e-1]}


def test_a_head_learns_more_from_more_images(make_table, draw) -> None:
    curve = curve_of(make_table(*draw(320, spread=2.0)), folds=4, repeats=3, grid=GRID)
    values = [point.accuracy.value for point in curve.points]
    assert values[-1] > values[0] + 0.05
    assert curve.n == 320
    assert [round(point.per_class) for point in curve.points][-3:] == [30, 60, 120]
    assert all(
        point.accuracy.low <= v <= point.accuracy.high
        for point, v in zip(curve.points, values, strict=True)
    )
    assert len(curve.points[0].repeats) == 3
    assert len(curve.points[-1].repeats) == 1


def test_what_is_forecast_comes_true(make_table, draw) -> None:
    X, y = draw(1200, dim=16, spread=2.5)
    half = curve_of(make_table(X[:600], y[:600]), folds=3, repeats=3, grid=GRID)
    whole = curve_of(make_table(X, y), folds=3, repeats=2, grid=GRID)
    assert half.doubled is not None
    assert half.doubled.per_class == pytest.approx(whole.points[-1].per_class, rel=0.01)
    found, actual = half.doubled.accuracy, whole.points[-1].accuracy
    assert found.low - 0.02 < actual.value < found.high + 0.02


def test_the_last_point_is_what_fit_head_scores(make_table, draw) -> None:
    from tlx.classify.scoring.crossval import evaluate_head

    table = make_table(*draw(150, spread=2.0))
    curve = curve_of(table, grid={"C": [0.01]}, repeats=2)
    found = evaluate_head(table, "logreg", grid={"C": [0.01]})
    assert curve.points[-1].accuracy.value == pytest.approx(
        found.metrics["accuracy"].value, abs=0.01
    )


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_part_has_whole_groups_and_every_class(make_table, draw, share: float) -> None:
    X, y = draw(120, classes=3)
    table = make_table(X, y, groups=np.arange(120) // 6)
    train = np.arange(30, 120)
    part = draw_part(table, train, share, [0])
    assert set(part) <= set(train)
    assert set(y[part]) == {0, 1, 2}
    for g in set(table.groups[part]):
        assert set(np.flatnonzero(table.groups == g)) <= set(part)
    assert (np.bincount(y[part]) >= np.ceil(share * np.bincount(y[train]))).all()


def test_smaller_parts_lie_within_larger_ones(make_table, draw) -> None:
    table = make_table(*draw(100))
    parts = [set(draw_part(table, np.arange(100), share, [5])) for share in (0.1, 0.3, 0.9)]
    assert parts[0] < parts[1] < parts[2]


def test_held_out_images_are_never_learned_from(add_dataset, draw, place) -> None:
    X, y = draw(90)
    add_dataset("d", X, y, split=["validation" if i % 3 == 0 else "train" for i in range(90)])
    curve = learning_curve(workspace=place.root, grid=GRID, repeats=2)
    assert (curve.protocol, curve.n) == ("validation split", 30)
    assert curve.points[-1].n_train == 60


def test_the_same_seed_gives_the_same_curve(make_table, draw) -> None:
    table = make_table(*draw(80))
    runs = [curve_of(table, folds=2, repeats=2, grid=GRID, seed=s) for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_three_points_say_nothing_of_the_next(make_table, draw) -> None:
    curve = curve_of(make_table(*draw(20)), folds=2, repeats=2, grid=GRID)
    assert curve.doubled is None
    assert curve.reason.startswith("a curve through 2 points")


def test_too_few_images_or_repeats_say_so(make_table, draw) -> None:
    with pytest.raises(DataError, match=r"1 repeats show no spread.\nUse --repeats 2"):
        curve_of(make_table(*draw(40)), repeats=1)
    with pytest.raises(DataError, match=r"smallest class has 2 training image.*\n.*at least 4"):
        curve_of(make_table(*draw(8)), folds=2)


def test_a_curve_tells_how_far_it_is(add_dataset, draw, place) -> None:
    heard = []
    add_dataset("d", *draw(80))
    learning_curve(
        workspace=place.root,
        repeats=2,
        grid=GRID,
        progress=lambda done, total: heard.append(done / total),
    )
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)
    assert len(heard) >= 8
