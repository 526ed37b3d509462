"""Comparisons of real runs on drawn features."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from typing import Any

import h5py
import numpy as np
import pytest

from tlx.classify.compare import compare_heads
from tlx.classify.fit import fit_head
from tlx.classify.runs.best import load_run
from tlx.classify.runs.store import list_runs
from tlx.errors import DataError, FormatError, UnknownNameError


@pytest.fixture
def fit(add_dataset, draw, place):
    """Return a function that fits a head with one C, on 120 images of two classes."""
    add_dataset("d", *draw(120, spread=1.5))

    def fit(C: float = 1.0, **options: Any):
        return fit_head("logreg", workspace=place.root, grid={"C": [C]}, **options)

    return fit


def accuracy(run) -> float:
    return run.metrics["accuracy"].value


def test_ranks_the_best_first(fit, place) -> None:
    runs = [fit(C) for C in (1e-6, 1.0, 1e-3)]
    found = compare_heads(workspace=place.root)
    values = [row.metric.value for row in found.rows]
    assert values == sorted((accuracy(run) for run in runs), reverse=True)
    assert found.best.id == load_run("best", place.root).id
    assert found.n == 120
    assert found.left_out == []
    for row in found.rows[1:]:
        assert row.difference.value == pytest.approx(row.metric.value - values[0])
        assert row.difference.low <= row.difference.value <= row.difference.high
        assert 0 < row.difference.p_value <= 1


def test_the_best_has_no_difference_from_itself(fit, place) -> None:
    fit()
    (row,) = compare_heads(workspace=place.root).rows
    assert (row.difference.value, row.difference.p_value) == (0.0, 1.0)


def test_a_single_run_is_one_run(fit, place) -> None:
    run = fit()
    for named in (run, run.id):
        assert [row.run.id for row in compare_heads(named, workspace=place.root).rows] == [run.id]


@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1", "log_loss", "roc_auc"])
def test_ranks_by_any_metric(fit, place, metric: str) -> None:
    for C in (1e-5, 1.0):
        fit(C)
    found = compare_heads(workspace=place.root, metric=metric)
    values = [row.metric.value for row in found.rows]
    assert values == sorted(values, reverse=metric != "log_loss")


def test_an_unknown_metric_names_the_known(fit, place) -> None:
    fit()
    with pytest.raises(
        UnknownNameError, match=r"unknown metric: 'acuracy'.\nDid you mean accuracy"
    ):
        compare_heads(workspace=place.root, metric="acuracy")


def test_no_runs_says_what_to_do(place) -> None:
    with pytest.raises(DataError, match=r"no runs in .*\nRun tlx fit-head first"):
        compare_heads(workspace=place.root)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"folds": 3}, r"3-fold instead of 5-fold|instead of"),
        ({"seed": 7}, "other folds .seed 7 instead of 0"),
        ({"max_per_class": 10, "repeats": 1}, "learned from other images .20 instead of 120"),
    ],
)
def test_other_folds_are_left_out_and_refused_by_name(fit, place, options, reason: str) -> None:
    other, newest = fit(**options), fit()
    found = compare_heads(workspace=place.root)
    assert [row.run.id for row in found.rows] == [newest.id]
    assert [out.run.id for out in found.left_out] == [other.id]
    with pytest.raises(DataError, match=reason) as told:
        compare_heads([other.id, newest.id], workspace=place.root)
    assert "--refit" in told.value.remedy


def test_other_images_and_other_labels_are_refused(fit, place, add_dataset, draw) -> None:
    X, y = draw(120, spread=1.5)
    first = fit()
    add_dataset("d", X[:100], y[:100])
    second = fit()
    add_dataset("d", X[:100], np.where(np.arange(100) < 4, 1 - y[:100], y[:100]))
    third = fit()
    with pytest.raises(
        DataError, match="scored on other images: 120 instead of 100, 100 of them the same"
    ):
        compare_heads([first.id, second.id], workspace=place.root)
    with pytest.raises(DataError, match="4 images had other labels"):
        compare_heads([second.id, third.id], workspace=place.root)


def test_other_classes_are_refused(fit, place, add_dataset, draw) -> None:
    fit()
    add_dataset("three", *draw(90, classes=3))
    fit()
    with pytest.raises(DataError, match="its classes are ant, bee, not ant, bee, cat"):
        compare_heads([run.id for run in list_runs(place)], workspace=place.root)


def test_refit_puts_all_on_the_newest_folds_once(fit, place) -> None:
    old, newest = fit(0.5, seed=3), fit(1.0)
    found = compare_heads(workspace=place.root, refit=True)
    assert len(found.rows) == 2
    assert list(found.refitted) == [old.id]
    again = load_run(found.refitted[old.id], place.root)
    assert again.info.params == old.info.params
    assert (again.predictions().fold == newest.predictions().fold).all()
    repeated = compare_heads(workspace=place.root, refit=True)
    assert repeated.refitted == {}
    assert len(list_runs(place)) == 3


def test_refit_after_the_images_changed_fits_all_again(fit, place, add_dataset, draw) -> None:
    fit(0.5), fit(1.0)
    X, y = draw(120, spread=1.5)
    add_dataset("d", X[:100], y[:100])
    fit(2.0)
    found = compare_heads(workspace=place.root, refit=True)
    assert found.n == 100
    assert len(found.rows) == 3
    add_dataset("d", X[:90], y[:90])
    renewed = compare_heads(["logreg-1", "logreg-3"], workspace=place.root, refit=True)
    assert renewed.n == 90
    assert len(renewed.rows) == 2


def test_runs_on_other_features_of_the_same_images_are_compared(
    fit, place, add_dataset, draw
) -> None:
    from tlx.cache.manifest import Manifest

    first = fit()
    X, y = draw(120, spread=1.5)
    before = Manifest.load(place.manifest_path("d")).sources
    add_dataset("d", np.hstack([X, X]), y, backbone="other")
    second = fit()
    found = compare_heads([first.id, second.id], workspace=place.root)
    assert len(found.rows) == 2
    assert before[0]["fingerprint"] != second.info.sources[0]["fingerprint"]


def test_only_runs_of_the_data_set_asked_for(fit, place, add_dataset, draw) -> None:
    first = fit()
    add_dataset("e", *draw(60, seed=5))
    second = fit()
    assert compare_heads(workspace=place.root).best.id == second.id
    assert compare_heads(workspace=place.root, dataset="d").best.id == first.id
    with pytest.raises(UnknownNameError, match="There is d, e"):
        compare_heads(workspace=place.root, dataset="f")


def test_the_same_fit_gives_the_same_numbers_twice(fit) -> None:
    one, two = fit(), fit()
    assert one.info.metrics == two.info.metrics
    assert (one.predictions().probabilities == two.predictions().probabilities).all()


def test_a_run_records_seed_and_environment(fit) -> None:
    info = json.loads((fit(seed=3).folder / "run.json").read_bytes())
    assert info["seed"] == 3
    assert {"tlx", "python", "platform", "numpy", "scikit-learn", "h5py"} <= set(
        info["environment"]
    )


@pytest.fixture
def tuned(add_dataset, draw, place):
    """A run as fine-tuning leaves it: 30 of 120 images held out, of a data set without a split."""
    X, y = draw(120, spread=1.5)
    add_dataset("d", X, y, split=["validation" if i % 4 == 0 else "train" for i in range(120)])
    run = fit_head("logreg", workspace=place.root)
    info = json.loads((run.folder / "run.json").read_text())
    del info["settings"]
    info |= {"model": "finetune", "protocol": "held-out fifth", "created": "2000-01-01T00:00:00"}
    (run.folder / "run.json").write_text(json.dumps(info))
    run.folder.rename(run.folder.with_name("finetune-1"))
    add_dataset("d", X, y)
    return load_run("finetune-1", place.root)


def test_heads_are_fitted_again_on_the_images_that_a_fine_tuning_learned_from(tuned, place) -> None:
    head = fit_head("centroid", workspace=place.root)
    info = json.loads((tuned.folder / "run.json").read_text())
    (tuned.folder / "run.json").write_text(json.dumps({**info, "created": "2999-01-01T00:00:00"}))
    found = compare_heads(workspace=place.root, refit=True)
    assert list(found.refitted) == [head.id]
    assert {row.run.id for row in found.rows} == {"finetune-1", found.refitted[head.id]}
    assert found.left_out == []
    again = load_run(found.refitted[head.id], place.root)
    assert again.info.protocol == "held-out fifth"
    assert len(again.predictions().label) == 30
    assert again.info.trained_on == 90


def test_heads_are_fitted_again_on_the_folds_of_a_fine_tuning(fit, place) -> None:
    tuned, head = fit(folds=3, seed=7), fit_head("centroid", workspace=place.root)
    info = json.loads((tuned.folder / "run.json").read_text())
    del info["settings"]
    info |= {"model": "finetune", "params": {"folds": 3}, "created": "2999-01-01T00:00:00"}
    (tuned.folder / "run.json").write_text(json.dumps(info))
    tuned.folder.rename(tuned.folder.with_name("finetune-1"))
    found = compare_heads(workspace=place.root, refit=True)
    assert list(found.refitted) == [head.id]
    assert {row.run.id for row in found.rows} == {"finetune-1", found.refitted[head.id]}
    again = load_run(found.refitted[head.id], place.root)
    assert again.info.recipe is not None
    assert again.info.recipe.folds == 3
    dealt = load_run("finetune-1", place.root).predictions().fold
    assert np.array_equal(again.predictions().fold, dealt)


def test_a_fine_tuned_run_is_left_out_where_it_would_have_to_be_fitted_again(tuned, place) -> None:
    head = fit_head("centroid", workspace=place.root)
    found = compare_heads(workspace=place.root, refit=True)
    assert found.refitted == {}
    assert [(out.run.id, out.reason[:22]) for out in found.left_out] == [
        ("finetune-1", "scored on other images")
    ]
    with pytest.raises(DataError, match="finetune-1 cannot be compared") as told:
        compare_heads([tuned.id, head.id], workspace=place.root, refit=True)
    assert "A finetune run cannot be fitted again" in told.value.remedy
    assert len(list_runs(place)) == 2  # nothing was fitted for nothing


def test_few_shot_runs_are_ranked_valued_and_tested_by_the_same_draws(fit, place) -> None:
    few = {"max_per_class": 4, "repeats": 4}
    runs = [fit(C, **few) for C in (1e-4, 1.0)] + [
        fit_head("centroid", workspace=place.root, **few)
    ]
    assert runs[0].predictions().all_draws.shape == (4, 120, 2)
    for metric in ("accuracy", "log_loss"):
        found = compare_heads(workspace=place.root, metric=metric)
        best = found.rows[0].metric.value
        for row in found.rows[1:]:
            assert row.difference.value == pytest.approx(row.metric.value - best, abs=1e-6)


def test_a_few_shot_run_of_before_that_kept_one_draw_is_fitted_again(fit, place) -> None:
    few = {"max_per_class": 4, "repeats": 2}
    old, new = fit(0.5, **few), fit(1.0, **few)
    with h5py.File(old.folder / "predictions.h5", "a") as file:
        del file["draws"]
    info = json.loads((old.folder / "run.json").read_text())
    digest = hashlib.sha256((old.folder / "predictions.h5").read_bytes()).hexdigest()
    info["parts"]["predictions.h5"] = digest
    (old.folder / "run.json").write_text(json.dumps(info))
    found = compare_heads(workspace=place.root)
    assert [row.run.id for row in found.rows] == [new.id]
    assert "kept the first of its 2 draws only" in found.left_out[0].reason
    again = compare_heads(workspace=place.root, refit=True)
    assert list(again.refitted) == [old.id]


def test_draws_of_another_number_are_not_compared(fit, place) -> None:
    other, newest = (fit(1.0, max_per_class=4, repeats=repeats) for repeats in (2, 3))
    found = compare_heads(workspace=place.root)
    assert [row.run.id for row in found.rows] == [newest.id]
    assert [(out.run.id, out.reason) for out in found.left_out] == [
        (other.id, "2 draws instead of 3")
    ]


def test_repeats_of_the_folds_are_compared_with_their_like_and_fitted_again(fit, place) -> None:
    plain, one, other = fit(0.5), fit(1.0, repeats_cv=2), fit(1e-5, repeats_cv=2)
    found = compare_heads(workspace=place.root)
    assert {row.run.id for row in found.rows} == {one.id, other.id}
    (out,) = found.left_out
    assert out.run.id == plain.id
    assert out.reason == f"{plain.info.protocol} instead of {one.info.protocol}"
    again = compare_heads(workspace=place.root, refit=True)
    assert list(again.refitted) == [plain.id]
    (new,) = [row.run for row in again.rows if row.run.id in again.refitted.values()]
    assert new.info.recipe is not None
    assert new.info.recipe.options == {"repeats_cv": 2}
    assert len(new.predictions().all_draws) == 2


def test_the_same_run_again_is_no_further_comparison(fit, place) -> None:
    fit(1e-5), fit(1.0)
    before = compare_heads(workspace=place.root)
    copies = [fit(1e-5) for _ in range(3)]
    found = compare_heads(workspace=place.root)
    assert len(found.rows) == 2
    assert {out.reason for out in found.left_out} == {f"the same as {copies[-1].id}"}
    assert found.rows[1].difference == before.rows[1].difference


def test_runs_with_damaged_predictions_are_told_and_left_out(fit, place, caplog) -> None:
    bad, good = fit(0.5), fit(1.0)
    (bad.folder / "predictions.h5").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING, "tlx"):
        found = compare_heads(workspace=place.root)
    assert [row.run.id for row in found.rows] == [good.id]
    assert [out.run.id for out in found.left_out] == [bad.id]
    assert f"Warning: run {bad.id} is left out" in caplog.text
    with pytest.raises(FormatError, match="is not what the run was saved with"):
        compare_heads([bad.id, good.id], workspace=place.root)


def test_fitting_again_tells_how_far_it_is(fit, place) -> None:
    heard = []
    for C in (1e-3, 1.0):
        fit(C, folds=4)
    fit(1e-2)
    found = compare_heads(
        refit=True,
        workspace=place.root,
        progress=lambda done, total: heard.append(done / total),
    )
    assert len(found.refitted) == 2
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(1)


def test_of_equals_a_fine_tuning_that_kept_its_head_comes_last(fit, place) -> None:
    run = fit()
    copy = place.runs / "finetune-1"
    shutil.copytree(run.folder, copy)
    told = json.loads((copy / "run.json").read_text())
    del told["settings"]
    told |= {"model": "finetune", "created": "2100-01-01T00:00:00.000000+00:00"}
    told["finetune"] = {"seed_run": run.id, "kept": "head"}
    told["metrics"]["log_loss"]["value"] -= 1e-6  # as computed by a network
    (copy / "run.json").write_text(json.dumps(told))
    found = compare_heads(workspace=place.root)
    assert [row.run.id for row in found.rows] == [run.id, "finetune-1"]
    assert found.best.id == load_run("best", place.root).id


def test_refit_keeps_near_duplicates_on_one_side_as_the_newest_run_does(
    place, add_dataset, draw_thumbs
) -> None:
    rng = np.random.default_rng(0)
    X, thumbs = rng.normal(size=(30, 24)).astype(np.float32), draw_thumbs(30)
    X, thumbs = np.r_[X, X + 0.01], np.r_[thumbs, thumbs]
    add_dataset("d", X, np.arange(60) % 2, thumbs=thumbs)
    old = fit_head("lda", workspace=place.root)
    new = fit_head("logreg", workspace=place.root, near_duplicates="group")
    found = compare_heads(workspace=place.root, refit=True)
    again = load_run(found.refitted[old.id], place.root)
    assert old.info.near_duplicates.across > 0
    assert again.info.near_duplicates == new.info.near_duplicates
    assert {row.run.id for row in found.rows} == {again.id, new.id}
