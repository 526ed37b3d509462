"""Which run is the best: full ones, by log loss, and networks only where they beat their head."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.runs.best import best_run, load_run
from tlx.classify.runs.run import Run
from tlx.errors import DataError


@pytest.fixture
def fit(add_dataset, draw, place):
    """Return a function that fits a head on 120 images of two classes, logreg by default."""
    add_dataset("d", *draw(120, spread=1.5))
    return lambda model="logreg", **options: fit_head(model, workspace=place.root, **options)


def edit(run: Run, **fields: Any) -> None:
    path = run.folder / "run.json"
    info = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({k: v for k, v in info.items() if v is not ...}))


def with_loss(run: Run, loss: float) -> Run:
    """Make a run tell another log loss."""
    metrics = json.loads((run.folder / "run.json").read_text())["metrics"]
    edit(run, metrics={**metrics, "log_loss": {"value": loss, "low": loss, "high": loss}})
    return run


def tuned(run: Run, kept: str, seed_run: str, better: bool = True) -> Run:
    """Make a run look like a fine-tuning from `seed_run`."""
    told = {"seed_run": seed_run, "kept": kept, "verdict": {"better": better}}
    edit(run, model="finetune", settings=..., finetune=told)
    return run


def test_the_lowest_log_loss_is_the_best(fit, place):
    runs = [fit(C=C) for C in (1e-6, 1.0, 1e-4)]
    loss = {run.id: run.metrics["log_loss"].value for run in runs}
    assert best_run(place).id == load_run("best", place.root).id == min(loss, key=loss.__getitem__)


def test_of_equals_the_newest_is_the_best(fit, place):
    runs = [fit("centroid") for _ in range(12)]
    assert best_run(place).id == runs[-1].id


def test_a_few_shot_run_never_displaces_a_full_one(fit, place):
    full = fit(C=0.1)
    with_loss(fit(max_per_class=3, repeats=2), 1e-6)
    assert best_run(place).id == full.id


def test_worse_runs_do_not_displace_a_better_one_on_whatever_folds(fit, place):
    better = fit()
    fit(C=1e-7)
    fit(C=1e-7, folds=3)
    fit(C=1e-7, seed=5)
    assert best_run(place).id == better.id


def test_a_run_from_before_images_were_added_does_not_count(fit, place, add_dataset, draw):
    old = fit()
    add_dataset("d", *draw(130, spread=1.5))
    new = fit("centroid")
    with_loss(old, 1e-6)
    assert best_run(place).id == new.id


def test_a_run_on_other_labels_does_not_count(fit, place, add_dataset, draw):
    old = fit()
    X, y = draw(120, spread=1.5)
    add_dataset("d", X, np.where(np.arange(120) < 3, 1 - y, y))
    new = fit("centroid")
    with_loss(old, 1e-6)
    assert best_run(place).id == new.id


def test_without_a_full_run_it_is_among_those_like_the_newest(fit, place, add_dataset, draw):
    better, _ = fit(), fit(C=1e-7)
    few = fit(max_per_class=3, repeats=2)
    add_dataset("d", *draw(130, spread=1.5))
    assert best_run(place).id == better.id
    assert best_run(place, accept=lambda run: run.id == few.id).id == few.id


def test_with_a_validation_split_copies_of_it_are_not_asked_for(fit, place, add_dataset, draw):
    X, y = draw(120, spread=1.5)
    split = ["validation" if i % 4 == 0 else "train" for i in range(120)]
    digests = [bytes([i + 1]) * 32 for i in range(120)]
    digests[1] = digests[0]  # in validation, and so not learned from
    y[1] = y[0]
    add_dataset("d", X, y, split=split, digests=digests)
    full = fit(C=0.01)
    with_loss(fit(max_per_class=3, repeats=2), 1e-6)
    assert best_run(place).id == full.id


def test_a_fine_tuning_that_kept_its_head_does_not_count(fit, place):
    head = fit()
    with_loss(tuned(fit(), "head", head.id), 1e-6)
    assert best_run(place).id == head.id


def test_a_network_kept_on_the_same_images_is_ranked_by_its_loss(fit, place):
    head = fit()
    network = tuned(with_loss(fit(), 1e-6), "finetuned", head.id)
    assert best_run(place).id == network.id
    with_loss(network, 5.0)
    assert best_run(place).id == head.id


def test_a_network_that_one_asked_to_keep_is_never_the_best(fit, place):
    head = fit()
    asked = tuned(with_loss(fit(), 1e-6), "finetuned", head.id, better=False)
    assert best_run(place).id == head.id
    assert load_run(asked.id, place.root).id == asked.id


def test_a_network_kept_by_a_tlx_of_before_is_ranked_as_then(fit, place):
    network = tuned(with_loss(fit(), 1e-6), "finetuned", fit().id)
    edit(network, finetune={"seed_run": "logreg-1", "kept": "finetuned"})
    assert best_run(place).id == network.id


def test_a_network_on_images_held_out_by_itself_takes_the_place_of_its_seed_only(fit, place):
    head, other = with_loss(fit(), 1e-3), fit("centroid")
    network = tuned(fit(max_per_class=20, repeats=1), "finetuned", head.id)
    best = best_run(place, accept=lambda run: run.info.finetune is None)
    assert best.id == head.id
    assert best_run(place).id == network.id
    with_loss(other, 1e-6)
    assert best_run(place).id == other.id


def test_a_condition_leaves_runs_out(fit, place):
    fit()
    wanted = fit("centroid")
    assert best_run(place, accept=lambda run: run.info.model == "centroid").id == wanted.id
    with pytest.raises(DataError, match=r"no run in .* can be used"):
        best_run(place, accept=lambda run: False)


def test_no_predictions_are_read(fit, place, monkeypatch):
    better, _ = fit(), fit(C=1e-7)
    monkeypatch.setattr(Run, "predictions", lambda run: pytest.fail("read predictions"))
    assert best_run(place).id == better.id


def test_runs_of_before_are_ranked_too(fit, place):
    better, few = fit(), with_loss(fit(max_per_class=3, repeats=2), 1e-6)
    for run in (better, few):
        edit(run, scored_id=..., trained_id=...)
    assert best_run(place).id == better.id


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("part", ["head.h5", "predictions.h5", "run.json"])
def test_a_damaged_run_is_told_and_another_is_the_best(fit, place, part: str, old: bool, caplog):
    good, bad = fit(C=1e-7), fit()
    if old:
        edit(good, scored_id=..., trained_id=...)
        edit(bad, scored_id=..., trained_id=...)
    Path(bad.folder / part).write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING, "tlx"):
        assert best_run(place).id == good.id
    assert f"run {bad.id} is left out" in caplog.text


def test_the_data_set_embedded_last_is_asked(fit, place, add_dataset, draw):
    first = fit()
    add_dataset("e", *draw(60, seed=5))
    assert best_run(place).id == first.id  # there are no others yet
    second = fit()
    assert best_run(place).id == second.id
    assert best_run(place, "d").id == first.id
