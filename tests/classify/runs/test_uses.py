"""How often test images were looked at: counted in the workspace, and never lost."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from tlx.classify.fit import fit_head
from tlx.classify.runs.store import remove_runs
from tlx.classify.runs.uses import Uses, count_use, images_id

CLASSES = ("ant", "bee")


@pytest.fixture
def runs(add_dataset, draw, place):
    add_dataset("d", *draw(60))
    return tuple(fit_head(workspace=place.root, C=C) for C in (1.0, 0.01, 1.0))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (20, 32), np.uint8)


def test_evaluations_and_different_runs_are_counted(runs, images, place) -> None:
    one, other, _ = runs
    found = [count_use(place, run, images, CLASSES, "d") for run in (one, one, other)]
    assert found == [Uses(1, 1), Uses(2, 1), Uses(3, 2)]


def test_a_run_that_was_removed_counts_and_the_same_fitted_again_is_no_other(
    runs, images, place
) -> None:
    one, other, again = runs
    assert one.info.parts == again.info.parts
    count_use(place, one, images, CLASSES, "d")
    count_use(place, other, images, CLASSES, "d")
    remove_runs(place, [one.id, other.id])
    assert count_use(place, again, images, CLASSES, "d") == Uses(3, 2)


def test_images_are_known_in_any_order_and_under_any_name(runs, images, place) -> None:
    count_use(place, runs[0], images, CLASSES, "d")
    assert count_use(place, runs[0], images[::-1], ("bee", "ant"), "other").count == 2
    assert count_use(place, runs[0], images[:-1], CLASSES, "d").count == 1
    assert count_use(place, runs[0], images, ("ant", "cat"), "d").count == 1


def test_no_process_takes_a_count_from_another(runs, images, place) -> None:
    def evaluate() -> None:
        for _ in range(10):
            count_use(place, runs[0], images, CLASSES, "d")

    threads = [threading.Thread(target=evaluate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count_use(place, runs[0], images, CLASSES, "d").count == 41


def test_where_nothing_can_be_written_it_is_counted_in_the_answer(
    runs, images, place, deny
) -> None:
    count_use(place, runs[0], images, CLASSES, "d")
    folder = place.evaluations / images_id(images, CLASSES)
    deny(folder, 0o555)
    assert count_use(place, runs[1], images, CLASSES, "d") == Uses(2, 2, kept=False)
    assert len(list(folder.iterdir())) == 1


def test_a_file_stands_where_the_folder_should(runs, images, place) -> None:
    place.evaluations.write_text("")
    assert count_use(place, runs[0], images, CLASSES, "d") == Uses(1, 1, kept=False)


def test_what_is_no_evaluation_is_passed_over(runs, images, place) -> None:
    count_use(place, runs[0], images, CLASSES, "d")
    folder = place.evaluations / images_id(images, CLASSES)
    (told,) = folder.iterdir()
    assert json.loads(told.read_text())["run"] == "logreg-1"
    (folder / ".half.tmp").write_text("")
    (folder / "notes.json").write_text("")
    told.write_text("damaged")
    assert count_use(place, runs[0], images, CLASSES, "d") == Uses(2, 1)
