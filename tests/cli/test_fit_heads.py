"""``tlx fit-head`` with several heads, few images, and the options of single heads."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from tlx.cache.spec import FeatureSpec
from tlx.cache.store import FeatureStore
from tlx.workspace import Workspace

ALL = {"logreg", "svm", "lda", "ridge", "knn", "centroid", "dense"}


def fit(tlx, project, *options: str) -> dict:
    return json.loads(tlx("fit-head", *options, "--json", cwd=project).stdout)


@pytest.mark.slow
def test_all_heads(project, tlx):
    """One of them trains with Keras; its hidden layer is predicted with, like the others."""
    result = fit(tlx, project, "--model", "all", "--hidden", "8", "--name", "try")
    assert {run["model"] for run in result["runs"]} == ALL
    assert {run["run"] for run in result["runs"]} == {f"try-{model}" for model in ALL}
    assert result["failures"] == []
    assert result["seconds"] > 0
    assert result["best_corrected"]["value"] <= result["runs"][0]["metrics"]["accuracy"]["value"]
    for run in result["runs"]:
        assert run.keys() >= {"run", "model", "protocol", "n", "classes", "metrics", "seconds"}
    folder = project / ".tlx" / "runs" / "try-dense"
    assert (folder / "head.keras").is_file()
    assert (project / ".tlx" / "runs" / "try-knn" / "head.h5").is_file()


def test_several_heads_as_a_ranked_table(project, tlx):
    text = tlx("fit-head", "--model", "knn,centroid", "--model", "ridge", cwd=project).stdout
    lines = text.splitlines()
    assert lines[0].startswith("3 heads on 'data': 37 images (nested 5-fold)")
    head = next(i for i, line in enumerate(lines) if line.startswith("head "))
    rows = [line.split() for line in lines[head + 1 : head + 4]]
    assert {row[0] for row in rows} == {"knn", "centroid", "ridge"}
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
    assert "run ridge-1 in " in text
    assert " s for all heads" in text
    assert "Choosing the best of 3 by accuracy flatters" in text
    assert "Next: tlx report" in text


def test_a_head_that_fails_is_told_and_the_others_are_kept(project, tlx):
    shown = tlx("fit-head", "--model", "all", "--output", "sigmoid", "--json", cwd=project)
    result = json.loads(shown.stdout)
    assert {run["model"] for run in result["runs"]} == ALL - {"dense"}
    assert [failure["model"] for failure in result["failures"]] == ["dense"]
    assert "a sigmoid output for 3 classes" in result["failures"][0]["reason"]
    assert "dense could not be fitted: a sigmoid output" in shown.stderr


def test_few_images(project, tlx):
    few = ["--max-per-class", "3", "--repeats", "2"]
    result = fit(tlx, project, "--model", "centroid", *few)
    assert result["protocol"] == "nested 5-fold, 3 a class, mean of 2 draws"
    assert result["n"] == 37


def test_a_fixed_strength_and_balanced_classes(project, tlx):
    result = fit(tlx, project, "--C", "0.01", "--class-weight", "balanced", "--name", "mine")
    assert result["run"] == "mine"
    assert result["params"] == {"class_weight": "balanced", "C": 0.01}
    assert result["protocol"] == "5-fold"


@pytest.mark.parametrize(
    ("options", "cause", "remedy"),
    [
        (["--model", "knn", "--C", "1"], "knn has no option 'C'.", "logreg, svm"),
        (["--hidden", "8"], "logreg has no option 'hidden'.", "dense"),
        (["--model", "svm,knm"], "unknown model: 'knm'.", "Did you mean knn"),
        (["--repeats", "3"], "3 repeats of the same.", "--max-per-class"),
        (["--max-per-class", "0"], "0 images a class.", "--max-per-class 1"),
        (["--C", "-1"], "logreg cannot have C = -1.0.", "1.0"),
    ],
)
def test_options_that_do_not_apply(options, cause, remedy, shared_project, tlx):
    shown = tlx("fit-head", *options, cwd=shared_project, code=1)
    assert shown.stdout == ""
    assert cause in shown.stderr.splitlines()[0]
    assert remedy in shown.stderr.splitlines()[1]


def test_hidden_layers_that_are_no_numbers_are_bad_usage(shared_project, tlx):
    shown = tlx(
        "fit-head", "--model", "dense", "--hidden", "8,many", cwd=shared_project, code=2
    ).stderr
    assert "is no list of numbers" in shown


@pytest.mark.slow
def test_features_chosen_among_layers(project, tlx):
    """The light features again, as if of a layer before the last."""
    workspace = Workspace(project / ".tlx")
    manifest = workspace.load_manifest("data")
    spec = FeatureSpec.from_json(manifest.sources[0]["spec"])
    features = FeatureStore(workspace.cache, spec.json).gather(manifest.digest_bytes())
    low = dataclasses.replace(spec, layer="low")
    with FeatureStore(workspace.cache, low.json).writer() as writer:
        for digest, feature in {*zip(manifest.digest_bytes(), map(tuple, features), strict=True)}:
            writer.add(digest, np.array(feature[:3], np.float32))
    manifest.record_source(low.fingerprint, low.json, "none")
    manifest.save(workspace.manifest_path("data"))
    auto = ["--features", "auto"]
    found = fit(tlx, project, *auto)["features_chosen"]
    assert [each["features"] for each in found["candidates"]] == ["last", "low", "last + low"]
    assert "\nFeatures: " in tlx("fit-head", *auto, cwd=project).stdout
    text = tlx("fit-head", *auto, "--model", "lda,ridge", cwd=project).stdout
    assert "\nFeatures of lda: " in text
    assert "\nFeatures of ridge: " in text
    assert fit(tlx, project, "--features", low.fingerprint[:9])["features_chosen"] is None
