"""``tlx evaluate``: a run on data that it has not seen."""

from __future__ import annotations

import json

import pytest

from tlx.workspace import Workspace


def test_json_has_the_promised_keys(shared_project, run_tlx) -> None:
    done = run_tlx("evaluate", "best", "data", "--json", cwd=shared_project)
    found = json.loads(done.stdout)
    assert {"run", "dataset", "split", "n", "metrics", "confusion"} <= set(found)
    assert (found["dataset"], found["split"], found["n"]) == ("data", "all", 37)
    assert found["seen_in_training"] == 37
    assert found["metrics_unseen"] == {}
    assert found["test_uses"] is None
    assert found["prevalence_shift"] is None
    assert [report["name"] for report in found["per_class"]] == ["amber", "blue", "coral"]
    assert "these figures say nothing about new images" in done.stderr


def test_text_has_metrics_classes_and_confusion(shared_project, run_tlx) -> None:
    text = run_tlx("evaluate", "best", "data", cwd=shared_project).stdout
    assert text.startswith("run logreg-1 on 'data', all images: ")
    for part in ("balanced accuracy", "recall", "precision", "true \\ predicted"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("best", "nowhere"), "unknown data set: 'nowhere'"),
        (("best", "data", "--split", "test"), "data set 'data' has no test split"),
        (("worst", "data"), "unknown run: 'worst'"),
    ],
)
def test_what_is_not_there_is_told(shared_project, run_tlx, arguments, message) -> None:
    assert message in run_tlx("evaluate", *arguments, cwd=shared_project, code=1).stderr


def test_a_folder_with_other_classes_is_refused(real_project, class_folders, tlx, tmp_path) -> None:
    import shutil

    shutil.copytree(real_project.folder / ".tlx", tmp_path / ".tlx")
    class_folders(tmp_path / "new", {"amber": 2, "green": 2})
    told = tlx("evaluate", "best", "new", code=1).stderr
    assert "the classes of data set 'new' are amber, green, those of run logreg-1 are" in told
    assert Workspace(tmp_path / ".tlx").dataset_names() == ["data"], "nothing was embedded"


def test_a_new_folder_is_embedded_and_scored(real_project, class_folders, tlx, tmp_path) -> None:
    import shutil

    shutil.copytree(real_project.folder / ".tlx", tmp_path / ".tlx")
    class_folders(tmp_path / "new", {"amber": 14, "blue": 14})
    done = tlx("evaluate", "best", "new")
    assert "learned from 24 of these 28 images" in done.stderr
    assert "unseen" in done.stdout


@pytest.fixture
def assessment(shared_project):
    """Return what evaluating a run says, to be changed."""
    from tlx.classify.evaluate import evaluate_run

    return evaluate_run("best", "data", workspace=shared_project / ".tlx")


def test_a_shift_says_what_to_type(assessment) -> None:
    from dataclasses import replace

    from tlx.classify.scoring.prevalence import PrevalenceShift
    from tlx.cli.evaluate import shift_text

    assert shift_text(assessment) == ""
    shift = PrevalenceShift(1, 0.0, 1 / 3, 0.001)
    text = shift_text(replace(assessment, shift=shift, shifted_loss=0.0))
    said = " ".join(text.split())
    assert "0.0% of these images are 'blue', where run logreg-1 supposes 33.3%" in said
    assert text.endswith("tlx predict logreg-1 PHOTO.jpg --prior blue=0.0135")
    assert max(map(len, text.splitlines())) <= 80
    text = shift_text(replace(assessment, shift=shift, shifted_loss=9.0))
    assert "does not lower the log loss" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_uses_are_told_from_the_second_time_on(assessment) -> None:
    from dataclasses import replace

    from tlx.classify.runs.uses import Uses
    from tlx.cli.evaluate import uses_text

    assert uses_text(assessment) == uses_text(replace(assessment, uses=Uses(1, 1))) == ""
    again = uses_text(replace(assessment, uses=Uses(2, 1)))
    assert "evaluated on these images before, 2 times with this one" in again
    many = uses_text(replace(assessment, uses=Uses(5, 3)))
    assert "evaluated 5 times, by 3 runs" in many
    assert "not counted" in uses_text(replace(assessment, uses=Uses(1, 1, kept=False)))
    assert max(len(line) for text in (again, many) for line in text.splitlines()) <= 80
