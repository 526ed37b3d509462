"""``tlx predict``: images in, labels out, on a table, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest

from tlx.cache.store import FeatureStore
from tlx.classify.runs.best import load_run
from tlx.workspace import Workspace


def predict(run_tlx, folder, *arguments: str, **options) -> list[dict]:
    shown = run_tlx("predict", *arguments, "--json", cwd=folder, **options)
    return json.loads(shown.stdout)["predictions"]


def test_json_has_the_keys_of_the_contract(shared_project, run_tlx):
    shown = run_tlx("predict", "logreg-1", "data/blue/0000.png", "--json", cwd=shared_project)
    result = json.loads(shown.stdout)
    assert result["run"] == "logreg-1"
    (row,) = result["predictions"]
    contract = {"path", "label", "confidence", "probabilities", "error"}
    assert set(row) == contract | {"expected_cost", "stranger"}
    assert (row["path"], row["label"], row["error"]) == ("data/blue/0000.png", "blue", "")
    assert row["confidence"] == row["probabilities"]["blue"]
    assert sum(row["probabilities"].values()) == pytest.approx(1)


def test_table(shared_project, run_tlx):
    text = run_tlx(
        "predict", "best", "data/blue/0001.png", "data/coral/0001.png", cwd=shared_project
    ).stdout
    header, *rows, empty, summary = text.splitlines()
    assert header.split() == ["path", "label", "confidence"]
    assert (empty, summary) == ("", "2 predictions: blue 1, coral 1")
    assert [row.split()[:2] for row in rows] == [
        ["data/blue/0001.png", "blue"],
        ["data/coral/0001.png", "coral"],
    ]


def test_embedded_images_need_no_network(shared_project, python):
    python(
        """
import sys
from tlx.cli.main import app
app(["predict", "best", "data"], standalone_mode=False)
heavy = [name for name in ("tensorflow", "keras", "openvino", "sklearn") if name in sys.modules]
assert not heavy, heavy
""",
        cwd=shared_project,
    )


def test_probabilities_are_those_of_the_head_on_the_cached_embedding(real_project, run_tlx):
    """A workspace of its own, so that the image goes the whole way again, alone."""
    folder = real_project.folder
    run, manifest = (
        load_run("logreg-1", folder / ".tlx"),
        Workspace(folder / ".tlx").load_manifest(),
    )
    store = FeatureStore(folder / ".tlx" / "cache", run.source["spec"])
    wanted = run.head().predict_proba(store.gather(manifest.digest_bytes()[:3]))
    paths = [f"data/{path}" for path in manifest.path[:3]]
    found = predict(run_tlx, folder, ".tlx/runs/logreg-1", *paths, "--workspace", "empty")
    got = [[row["probabilities"][name] for name in run.class_names] for row in found]
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert not (folder / "empty").exists()


def test_a_folder_is_searched_whatever_its_layout(shared_project, run_tlx, tmp_path):
    shutil.copytree(shared_project / "data", tmp_path / "photos" / "train")
    shutil.copy(shared_project / "data" / "blue" / "0000.png", tmp_path / "photos" / "top.png")
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    found = predict(run_tlx, shared_project, "best", str(tmp_path / "photos"))
    assert len(found) == 38
    assert found[0]["path"] == str(tmp_path / "photos" / "top.png")


def test_a_list_on_standard_input(shared_project, run_tlx):
    found = predict(
        run_tlx,
        shared_project,
        *("best", "data/blue/0000.png", "-"),
        input="data/amber/0000.png\n\ndata/coral/0000.png\n",
    )
    assert [row["label"] for row in found] == ["blue", "amber", "coral"]


def test_a_list_that_is_not_utf8(shared_project, run_tlx, tmp_path):
    (tmp_path / "gr\udcfcn.png").write_bytes((shared_project / "data/blue/0000.png").read_bytes())
    found = predict(run_tlx, shared_project, "best", "-", input=f"{tmp_path}/gr\udcfcn.png\n")
    assert found[0]["path"] == f"{tmp_path}/gr\udcfcn.png"
    assert found[0]["label"] == "blue"


def test_a_list_separated_by_nul_characters(shared_project, run_tlx, tmp_path):
    (tmp_path / "two\nlines.png").write_bytes((shared_project / "data/blue/0000.png").read_bytes())
    listed = f"data/amber/0000.png\0{tmp_path}/two\nlines.png\0"
    found = predict(run_tlx, shared_project, "best", "-", input=listed)
    assert [row["label"] for row in found] == ["amber", "blue"]


def test_what_cannot_be_read_is_a_row_with_its_reason(shared_project, run_tlx, tmp_path):
    (tmp_path / "fake.jpg").write_text("not a picture")
    (tmp_path / "copy.jpg").write_text("not a picture")
    paths = [str(tmp_path / "fake.jpg"), "data/blue/0000.png", str(tmp_path / "copy.jpg"), "gone"]
    found = predict(run_tlx, shared_project, "best", *paths)
    assert [row["path"] for row in found] == paths
    assert [row["label"] for row in found] == [None, "blue", None, None]
    assert found[0]["error"].startswith("not an image")
    assert found[2]["error"] == found[0]["error"]
    assert found[3]["error"] == "no such file or directory"
    shown = run_tlx("predict", "best", *paths, cwd=shared_project)
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["path", "label", "confidence", "error"]
    assert lines[-3].startswith("gone")
    assert lines[-1] == "1 prediction: blue 1"
    told = shown.stderr.splitlines()
    assert "3 of 4 could not be predicted:" in told
    assert any(
        line.split() == ["1", "no", "such", "file", "or", "directory", "gone"] for line in told
    )


def test_nothing_predicted_is_a_failure(shared_project, run_tlx):
    shown = run_tlx("predict", "best", "gone.png", "lost.png", cwd=shared_project, code=1)
    assert "2 of 2 could not be predicted:" in shown.stderr
    assert "gone.png" in shown.stderr
    json_too = run_tlx("predict", "best", "gone.png", "--json", cwd=shared_project, code=1)
    assert json.loads(json_too.stdout)["predictions"][0]["error"] == "no such file or directory"


def test_a_folder_without_images_is_told(shared_project, run_tlx, tmp_path):
    (tmp_path / "empty").mkdir()
    shown = run_tlx(
        "predict", "best", "data/blue", tmp_path / "empty", "--output", tmp_path / "a.csv",
        cwd=shared_project,
    )  # fmt: skip
    assert f"12 predictions: blue 12, written to {tmp_path / 'a.csv'}" in shown.stderr
    assert "1 of 13 could not be predicted:" in shown.stderr
    assert "a folder without images" in shown.stderr


@pytest.mark.parametrize("path", ["..", ".", "../blue", "~"])
def test_folders_relative_to_the_current_one(path, shared_project, run_tlx):
    data = shared_project / "data"
    shown = run_tlx(
        *("predict", "best", path, "--json", "--workspace", "../../.tlx"),
        cwd=data / "blue",
        env={"HOME": str(data)},
    )
    found = json.loads(shown.stdout)["predictions"]
    assert len(found) == (37 if path in ("..", "~") else 12)
    assert not any(row["error"] for row in found)


def test_csv_output(shared_project, run_tlx, tmp_path):
    target = tmp_path / "labels.csv"
    arguments = ("best", "data/blue/0000.png", "gone, or not.png")
    shown = run_tlx("predict", *arguments, "--output", target, cwd=shared_project)
    assert shown.stdout == ""
    assert f"1 prediction: blue 1, written to {target}" in shown.stderr.splitlines()
    first, second = csv.DictReader(io.StringIO(target.read_text()))
    assert list(first) == ["path", "label", "confidence", "error", "amber", "blue", "coral"]
    assert first["label"] == "blue"
    assert first["confidence"] == first["blue"]
    assert second == {
        "path": "gone, or not.png", "label": "", "confidence": "",
        "error": "no such file or directory", "amber": "", "blue": "", "coral": "",
    }  # fmt: skip


def test_json_output(shared_project, run_tlx, tmp_path):
    target = tmp_path / "labels.json"
    run_tlx("predict", "best", "data/blue/0000.png", "--output", target, cwd=shared_project)
    assert json.loads(target.read_text())["predictions"][0]["label"] == "blue"


@pytest.mark.parametrize(
    ("arguments", "cause", "remedy"),
    [
        (["logrek-1", "a.png"], "unknown run: 'logrek-1'.", "Did you mean logreg-1"),
        (["best", "a.png", "--output", "a.txt"], "a.txt is neither .csv nor .json", "labels.csv"),
        (["best", "-"], "the list on standard input is empty", "one path a line"),
    ],
)
def test_errors_name_cause_and_remedy(arguments, cause, remedy, shared_project, run_tlx):
    shown = run_tlx("predict", *arguments, cwd=shared_project, code=1, input="")
    lines = shown.stderr.splitlines()
    assert cause in lines[0]
    assert remedy in lines[1]


def test_no_runs_yet(tlx, tmp_path):
    assert tlx("predict", "best", "a.png", code=1).stderr.splitlines() == [
        f"Error: there are no runs in {tmp_path / '.tlx'} yet.",
        "Run tlx fit-head first.",
    ]


def test_a_run_that_was_tampered_with(project, tlx):
    head = project / ".tlx" / "runs" / "logreg-1" / "head.h5"
    head.write_bytes(head.read_bytes()[:-1] + b"x")
    shown = tlx("predict", "logreg-1", "data", cwd=project, code=1)
    assert "head.h5 is not what the run was saved with" in shown.stderr


def test_output_folder_that_cannot_be_written(shared_project, run_tlx, tmp_path, bound):
    (tmp_path / "closed").mkdir(mode=0o555)
    shown = run_tlx(
        *("predict", "best", "data/blue/0000.png", "--output", tmp_path / "closed" / "a.csv"),
        cwd=shared_project,
        code=1,
        preexec_fn=bound,
    )
    assert f"{tmp_path / 'closed' / 'a.csv'} cannot be written: Permission denied." in shown.stderr
    assert "Name another file" in shown.stderr
    assert "--workspace" not in shown.stderr
