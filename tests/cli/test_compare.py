"""``tlx compare``: the ranking, what is left out, and the picture."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tlx.classify.compare import compare_heads
from tlx.classify.duplicates import ToldDuplicates
from tlx.cli.compare import as_text


@pytest.fixture(scope="session")
def fitted(shared_project, tmp_path_factory, run_tlx) -> Path:
    """Return a project with three comparable runs and one on other folds."""
    folder = Path(shutil.copytree(shared_project, tmp_path_factory.mktemp("compare") / "p"))
    shutil.rmtree(folder / ".tlx" / "runs")
    run_tlx("fit-head", "--folds", 2, "--name", "other", cwd=folder)
    run_tlx("fit-head", "--model", "logreg,centroid,knn", cwd=folder)
    return folder


def test_json_has_the_promised_keys(fitted, run_tlx) -> None:
    found = json.loads(run_tlx("compare", "--json", cwd=fitted).stdout)
    assert {"protocol", "best", "rows"} <= set(found)
    assert found["best"] == found["rows"][0]["run"]
    assert {row["run"] for row in found["rows"]} == {"logreg-1", "centroid-1", "knn-1"}
    for row in found["rows"]:
        assert {"run", "model", "metrics", "difference", "low", "high", "p_value"} <= set(row)
        assert row["verdict"] in {"best", "equal", "worse", "not known"}
        assert (row["images_needed"] is None) == (row["verdict"] != "not known")
        assert row["seconds"] > 0
        assert row["predict_seconds"] > 0
        assert set(row["metrics"]["accuracy"]) == {"value", "low", "high"}
    assert [out["run"] for out in found["left_out"]] == ["other"]
    assert set(found["best_corrected"]) == {"value", "low", "high"}
    assert (found["pairs"], found["rope"]) == (3, 0.01)


def test_text_ranks_explains_and_says_what_is_left_out(fitted, run_tlx) -> None:
    text = run_tlx("compare", cwd=fitted).stdout
    assert text.startswith("3 runs on 'data': 37 images, nested 5-fold\n")
    assert "p: random signs of what images add against the best, corrected for all 3" in text
    assert "Choosing the best of 3 by accuracy flatters" in text
    assert "other     nested 2-fold instead of nested 5-fold" in text
    assert text.endswith("\nNext: tlx report\n")
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("metric", "rope", "sentence"),
    [
        ("accuracy", 100, "in practice, within ±100 points: "),
        ("log_loss", 1000, "in practice, within ±10: "),
        ("accuracy", 0, "or equal to it: "),
    ],
)
def test_every_run_is_told_as_worse_equal_or_not_known(fitted, run_tlx, metric, rope, sentence):
    options = ["--metric", metric, "--rope", rope]
    rows = json.loads(run_tlx("compare", *options, "--json", cwd=fitted).stdout)["rows"]
    text = run_tlx("compare", *options, cwd=fitted).stdout
    told = text.split("\n\n")[2]
    assert sentence in " ".join(told.split())
    for row in rows:
        assert row["run"] in told
        if row["images_needed"]:
            assert f"({row['images_needed']:,} images would tell)" in " ".join(told.split())
    assert max(map(len, told.splitlines())) <= 80


def test_a_region_below_zero_is_bad_usage(fitted, run_tlx) -> None:
    assert "--rope" in run_tlx("compare", "--rope", -1, cwd=fitted, code=2).stderr


def test_runs_on_other_folds_are_refused_by_name_and_refitted_on_demand(
    fitted, run_tlx, tmp_path
) -> None:
    copy = Path(shutil.copytree(fitted, tmp_path / "copy"))
    told = run_tlx("compare", "other", "logreg-1", cwd=copy, code=1).stderr
    assert "Error: run other cannot be compared with logreg-1: nested 2-fold" in told
    assert "--refit" in told
    found = json.loads(
        run_tlx("compare", "other", "centroid-1", "--refit", "--json", cwd=copy).stdout
    )
    assert set(found["refitted"]) == {"other"}
    assert len(found["rows"]) == 2


def test_refit_does_not_fit_a_head_again_whose_like_is_compared(fitted, run_tlx) -> None:
    text = run_tlx("compare", "other", "logreg-1", "--refit", cwd=fitted).stdout
    assert "other     the same head as logreg-1" in text
    assert "To compare them too" not in text


def test_a_copy_of_a_run_is_told_and_needs_no_refit(fitted, run_tlx, tmp_path) -> None:
    copy = Path(shutil.copytree(fitted, tmp_path / "copy"))
    run_tlx("runs", "rm", "other", cwd=copy)
    run_tlx("fit-head", cwd=copy)
    text = run_tlx("compare", cwd=copy).stdout
    assert "logreg-1  the same as logreg-2" in text
    assert "To compare them too" not in text


def test_best_is_the_one_ranked_first_by_log_loss(fitted, run_tlx) -> None:
    ranked = run_tlx("compare", "--metric", "log_loss", "--json", cwd=fitted).stdout
    best = json.loads(ranked)["best"]
    shown = json.loads(run_tlx("runs", "show", "best", "--json", cwd=fitted).stdout)
    assert shown["run"] == best


@pytest.mark.parametrize("metric", ["log_loss", "macro_f1"])
def test_other_metrics_rank_too(fitted, run_tlx, metric: str) -> None:
    text = run_tlx("compare", "--metric", metric, cwd=fitted).stdout
    assert "p: random signs of what images add against the best, corrected for all 3" in text


def test_plot_is_written(fitted, run_tlx, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    run_tlx("compare", "--plot", tmp_path / "heads.png", cwd=fitted)
    with Image.open(tmp_path / "heads.png") as picture:
        assert picture.size[0] > 800
    told = run_tlx("compare", "--plot", tmp_path / "heads.xls", cwd=fitted, code=1).stderr
    assert "is no picture that can be drawn" in told


def test_one_run_has_nothing_to_be_compared_with(fitted, run_tlx) -> None:
    text = run_tlx("compare", "knn-1", cwd=fitted).stdout
    assert text.startswith("1 run on")
    assert "There is nothing to compare it with yet." in text
    assert text.endswith("Next: tlx fit-head --model lda\n")


def test_what_to_fit_next_can_be_compared_with_a_run_of_grouped_near_duplicates(fitted) -> None:
    found = compare_heads("knn-1", workspace=fitted / ".tlx")
    (row,) = found.rows
    info = replace(row.run.info, near_duplicates=ToldDuplicates("group", 0))
    grouped = replace(found, rows=[replace(row, run=replace(row.run, info=info))])
    text = as_text(grouped, refit=False)
    assert text.endswith("Next: tlx fit-head --model lda --near-duplicates group")


def test_comparing_imports_no_tensorflow(fitted, python) -> None:
    told = python(
        "import sys; from tlx import cli; from tlx.classify.compare import compare_heads\n"
        f"compare_heads(workspace={str(fitted / '.tlx')!r})\n"
        "print(sorted({'tensorflow', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    assert "tensorflow" not in told
    assert "matplotlib" not in told
