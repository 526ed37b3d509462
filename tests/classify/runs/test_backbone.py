"""The network of a run: found again by what the run keeps, and refused if it is another."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tlx.cache.spec import FeatureSpec
from tlx.classify.fit import fit_head
from tlx.classify.runs.backbone import run_backbone
from tlx.classify.runs.best import load_run
from tlx.embed.backbones.registry import get_backbone
from tlx.embed.pipeline import embed_images
from tlx.errors import WeightsError


@pytest.fixture
def workspace(tmp_path, class_folders, grid) -> Path:
    folder = class_folders(tmp_path / "data", {"amber": 12, "blue": 12})
    embed_images(folder, workspace=tmp_path / "ws", weights="none", engine=grid)
    fit_head("centroid", workspace=tmp_path / "ws")
    return tmp_path / "ws"


def test_it_is_the_one_that_was_embedded_with(workspace):
    run = load_run("best", workspace=workspace)
    assert run_backbone(run, run.source) == get_backbone("efficientnet-lite0", "none")


def test_other_weights_are_refused(workspace):
    run = load_run("best", workspace=workspace)
    other = dataclasses.replace(FeatureSpec.from_json(run.source["spec"]), weights="00" * 32)
    with pytest.raises(WeightsError, match="are not those of run centroid-1: random:0"):
        run_backbone(run, {**run.source, "spec": other.json})


def test_a_model_that_a_run_brings_is_looked_for_in_its_folder(workspace):
    """Wherever that folder has been moved; its own path is not in the name."""
    run = load_run("best", workspace=workspace)
    part = next(iter(run.info.parts))
    spec = dataclasses.replace(FeatureSpec.from_json(run.source["spec"]), backbone=f"keras:{part}")
    with pytest.raises(WeightsError, match="holds weights without their model") as caught:
        run_backbone(run, {**run.source, "spec": spec.json})
    assert str(run.folder / part) in caught.value.cause


def test_finding_it_imports_neither_predicting_nor_a_framework(workspace, python):
    python(
        f"""
import sys
from tlx.classify.runs.backbone import run_backbone
from tlx.classify.runs.best import load_run
run = load_run("best", workspace={str(workspace)!r})
assert run_backbone(run, run.source).weights == "none"
assert not {{"tlx.classify.predict", "tlx.classify.evaluate"}} & set(sys.modules)
assert not {{"tensorflow", "keras", "openvino"}} & set(sys.modules)
"""
    )
