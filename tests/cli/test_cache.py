"""``tlx cache``: what it prints, its keys, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest

from tlx.cache.maintain import Change, SpecReport
from tlx.cli.cache import (
    compact_text,
    gathered_lines,
    info_text,
    prune_text,
    size,
    verify_text,
)

KEYS = {"fingerprint", "spec", "images", "shards", "bytes", "problems"}


def shards(project: Path) -> list[Path]:
    return sorted(project.glob(".tlx/cache/*/*.h5"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)


def answer(tlx, project: Path, *arguments: str, code: int = 0) -> dict:
    return json.loads(tlx("cache", *arguments, "--json", cwd=project, code=code).stdout)


@pytest.mark.parametrize("command", ["info", "verify"])
def test_specs_have_the_keys_of_the_contract(tlx, project, command):
    (spec,) = answer(tlx, project, command)["specs"]
    assert set(spec) == KEYS
    assert spec["images"] == 37
    assert spec["problems"] == []
    assert spec["spec"]["pooling"] == "avg"


def test_verify_exits_with_1_and_a_list_if_anything_is_wrong(tlx, project):
    flip(shards(project)[0])
    (spec,) = answer(tlx, project, "verify", code=1)["specs"]
    assert str(shards(project)[0].relative_to(project)) in spec["problems"][0]
    text = tlx("cache", "verify", cwd=project, code=1).stdout
    assert "\n1 problem; the rest is good: " in text
    assert "Run tlx cache compact, which sets damaged files aside, then tlx embed again" in text


@pytest.mark.slow
def test_what_verify_advises_mends_the_cache(tlx, project):
    """A row is damaged, not the head, so that tlx embed alone would not see it."""
    flip(shards(project)[0])
    tlx("cache", "verify", cwd=project, code=1)
    text = tlx("cache", "compact", cwd=project).stdout
    assert "set aside: " in text
    assert "Run tlx embed again" in text
    assert shards(project) == []
    assert "All is well" in tlx("cache", "verify", cwd=project).stdout
    assert "tlx cache prune removes it" in tlx("cache", "info", cwd=project).stdout


def test_an_empty_workspace_says_what_to_do(tlx):
    assert "tlx embed" in tlx("cache", "info").stdout


def test_a_dry_run_of_prune_changes_nothing(tlx, project):
    before = shards(project)
    shutil.rmtree(project / ".tlx" / "datasets")
    shutil.rmtree(project / ".tlx" / "runs")
    told = answer(tlx, project, "prune", "--dry-run")
    assert told["dry_run"] is True
    assert told["specs"][0]["images"] == 0
    assert shards(project) == before
    tlx("cache", "prune", cwd=project)
    assert shards(project) == []


def test_prune_keeps_what_a_run_needs_unless_forced(tlx, project):
    shutil.rmtree(project / ".tlx" / "datasets")
    (spec,) = answer(tlx, project, "prune")["specs"]
    assert spec["kept_for_runs"] == spec["images"] == 37
    (spec,) = answer(tlx, project, "prune", "--force")["specs"]
    assert spec["images"] == 0


def test_an_unknown_spec_is_one_line_of_error(tlx, project):
    done = tlx("cache", "prune", "--spec", "resnet", cwd=project, code=1)
    assert done.stderr.startswith("Error: unknown spec: 'resnet'.")


@pytest.mark.slow
def test_compact_tells_what_it_merged(tlx, project):
    (spec,) = answer(tlx, project, "compact")["specs"]
    assert spec["shards"] == 1
    assert "-> 1" in tlx("cache", "compact", cwd=project).stdout


def test_merge_takes_what_another_workspace_has(tlx, project, tmp_path):
    told = answer(tlx, tmp_path, "merge", str(project / ".tlx"))
    assert list(told["images"].values()) == [37]
    assert told["datasets"] == ["data"]
    assert answer(tlx, tmp_path, "verify")["specs"][0]["images"] == 37


@pytest.mark.slow
def test_merge_exits_with_1_if_a_file_was_refused(tlx, project, tmp_path):
    flip(shards(project)[0])
    done = tlx("cache", "merge", project / ".tlx", code=1)
    assert "refused:" in done.stdout


@pytest.mark.slow
def test_merge_a_second_time_says_that_nothing_is_new(tlx, project):
    text = tlx("cache", "merge", project / ".tlx").stdout
    assert "37 new features of 1 spec\nnew data sets: data (choose one with --dataset)" in text
    text = tlx("cache", "merge", project / ".tlx").stdout
    assert text == ("no new features: all are here already\nhere already, left as they are: data\n")


def test_export_to_where_no_file_can_be_says_to_name_another(tlx, project):
    told = tlx("cache", "export", "data", cwd=project, code=1).stderr.splitlines()
    assert told == [
        "Error: data cannot be written: Is a directory.",
        "Name another file, in a folder that you may write to.",
    ]


def test_export_writes_a_file_that_h5py_reads(tlx, project):
    assert answer(tlx, project, "export", "out.h5")["images"] == 37
    with h5py.File(project / "out.h5") as file:
        assert sorted(file) == ["class_names", "features", "label", "path", "split"]
        assert file["features"].shape == (37, 48)


def test_export_writes_parquet_with_what_the_best_run_said(tlx, project):
    parquet = pytest.importorskip("pyarrow.parquet")
    wanted = ("export", "out.parquet", "--format", "parquet", "--run", "best")
    assert answer(tlx, project, *wanted)["images"] == 37
    table = parquet.read_table(project / "out.parquet")
    assert table.column_names == [
        "path", "label", "split", "group", "predicted_label", "probabilities", "features",
    ]  # fmt: skip
    assert table["predicted_label"].null_count == 0


def report(**fields) -> SpecReport:
    spec = {"backbone": "vgg16", "weights": "w", "preprocessing": "caffe", "image_size": 150}
    return SpecReport("f" * 64, spec, **fields)


def test_info_is_a_table_with_the_problems_below():
    text = info_text([report(images=3, shards=1, bytes=2_000, problems=["a.h5 is bad."])])
    assert "vgg16 at 150  ffffffffffff       3       1  2.0 kB" in text
    assert text.endswith("\n\na.h5 is bad.")


def test_a_spec_that_this_tlx_does_not_know_is_named_all_the_same():
    assert "nova" in info_text([SpecReport("f" * 64, {"backbone": "nova", "magic": 1})])


def test_verify_says_that_all_is_well():
    text = verify_text([report(images=3)], [])
    assert text == "All is well: read and checked 3 features of 1 spec, 0 B."


def change(**fields) -> Change:
    return Change("f" * 64, {"backbone": "vgg16"}, 10, 5, 5000, **fields)


def test_compact_shows_before_and_after():
    assert "5 -> 1  5.0 kB -> 2.0 kB" in compact_text([change(images=10, shards=1, bytes=2000)])


def test_prune_says_how_to_drop_what_runs_need():
    text = prune_text([change(images=4, kept_for_runs=4)], dry_run=True)
    assert "would drop" in text
    assert "--force" in text


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (32_000_000_000, "32.0 GB")]
)
def test_sizes_are_for_people(n, text):
    assert size(n) == text


def test_gathered_features_are_told_of_where_there_are_any():
    assert gathered_lines(0) == []
    blank, line = gathered_lines(5_120_004_096)
    assert blank == ""
    assert line.startswith("Beside these: 5.1 GB gathered for heads")
    assert len(line) <= 80
