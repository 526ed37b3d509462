"""``tlx fit-head``: its JSON, its text, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil

import pytest
from PIL import Image

from tlx.embed.pipeline import embed_images

KEYS = {"run", "model", "protocol", "n", "classes", "metrics", "params", "seconds"}


def fit(tlx, project, *options: str) -> dict:
    return json.loads(tlx("fit-head", *options, "--json", cwd=project).stdout)


def test_json_has_the_keys_of_the_contract(project, tlx):
    result = fit(tlx, project)
    assert result.keys() >= KEYS
    assert (result["run"], result["model"], result["n"]) == ("logreg-2", "logreg", 37)
    assert result["classes"] == ["amber", "blue", "coral"]
    assert result["protocol"] == "nested 5-fold"
    for name, metric in result["metrics"].items():
        assert metric["low"] <= metric["value"] <= metric["high"], name
    assert sum(map(sum, result["confusion"])) == 37
    assert [report["name"] for report in result["per_class"]] == result["classes"]
    for report in result["per_class"]:
        for figure in (report["recall"], report["precision"], report["f1"]):
            assert figure["low"] <= figure["value"] <= figure["high"]


def test_it_never_imports_a_network_or_opens_an_image(project, python):
    """Not TensorFlow, not even scikit-learn; and the images are gone."""
    shutil.rmtree(project / "data")
    python(
        """
import sys
from tlx.cli.main import app
app(["fit-head"], standalone_mode=False)
heavy = [name for name in ("tensorflow", "keras", "openvino") if name in sys.modules]
assert not heavy, heavy
""",
        cwd=project,
    )


def test_text(project, tlx):
    text = tlx("fit-head", "--model", "logreg", cwd=project).stdout
    first = text.splitlines()[0]
    assert first.startswith("logreg on 'data': ")
    assert "of 37 images right (nested 5-fold, C " in first
    assert re.search(r"^metric +value +95% interval$", text, re.MULTILINE)
    for name in ("accuracy", "balanced accuracy", "macro F1", "log loss"):
        assert f"\n{name} " in text
    assert re.search(r"^class +images +recall +precision +F1$", text, re.MULTILINE)
    assert "true \\ predicted  amber  blue  coral" in text
    assert "run logreg-2 in " in text
    assert text.endswith("\nNext: tlx report\n")


def test_text_says_of_whom_the_figures_of_cross_validation_are(project, tlx):
    line = "Scored heads learned from 3/4 of the images, the kept one from all of them."
    assert line in tlx("fit-head", "--folds", "4", cwd=project).stdout.splitlines()
    few = tlx("fit-head", "--max-per-class", "3", "--repeats", "1", cwd=project).stdout
    assert "Scored heads" not in few


def test_folds_are_dealt_anew(project, tlx):
    text = tlx("fit-head", "--repeats-cv", "2", "--C", "0.1", cwd=project).stdout
    assert "of 37 images right (5-fold, mean of 2 repeats, C 0.1)" in text.splitlines()[0]
    chosen = tlx("fit-head", "--repeats-cv", "2", cwd=project).stdout.split("\n\n")[0]
    assert max(map(len, chosen.splitlines())) <= 80
    assert "mean of 2 repeats, C " in " ".join(chosen.split()), "words are whole"
    shown = tlx("fit-head", "--repeats-cv", "2", "--max-per-class", "3", cwd=project, code=1)
    assert "use it instead of --repeats-cv" in " ".join(shown.stderr.split())


def test_text_lists_the_images_that_are_most_confidently_wrong(project, tlx):
    text = tlx("fit-head", cwd=project).stdout
    assert "most confidently wrong" in text
    line = next(line for line in text.splitlines() if "wrong.png" in line)
    assert line.split()[1:3] == ["amber", "blue"]
    path = line.split()[0]
    assert not os.path.isabs(path)
    assert os.path.isfile(os.path.join(project, path))


def test_the_same_command_gives_the_same_numbers(project, tlx):
    first, second = fit(tlx, project), fit(tlx, project)
    assert first["metrics"] == second["metrics"]
    assert first["params"] == second["params"]


def test_another_seed_gives_other_folds(project, tlx):
    losses = {fit(tlx, project, "--seed", s)["metrics"]["log_loss"]["value"] for s in "01"}
    assert len(losses) == 2


def test_folds(project, tlx):
    assert fit(tlx, project, "--folds", "3")["protocol"] == "nested 3-fold"


def test_a_validation_split_is_used(project, tlx):
    embedded = json.loads(
        tlx("embed", "data", "--validation-fraction", "0.4", "--json", cwd=project).stdout
    )
    result = fit(tlx, project)
    assert result["protocol"] == "validation split"
    assert result["n"] == embedded["splits"]["validation"]


def test_the_test_split_is_left_alone(tmp_path, class_folders, grid, tlx):
    class_folders(tmp_path / "data" / "train", {"a": 10, "b": 10})
    class_folders(tmp_path / "data" / "test", {"a": 4, "b": 4, "c": 4})
    embed_images(tmp_path / "data", workspace=tmp_path / ".tlx", engine=grid)
    result = fit(tlx, tmp_path)
    assert (result["n"], result["classes"]) == (20, ["a", "b"])


def test_any_data_set_of_the_workspace_can_be_named(project, class_folders, grid, tlx):
    class_folders(project / "later", {"x": 6, "y": 6})
    embed_images(project / "later", workspace=project / ".tlx", engine=grid)
    assert fit(tlx, project)["dataset"] == "later"
    assert fit(tlx, project, "--dataset", "data")["dataset"] == "data"


# Errors


@pytest.mark.parametrize(
    ("options", "cause", "remedy"),
    [
        (["--model", "logref"], "unknown model: 'logref'.", "logreg"),
        (["--dataset", "date"], "unknown data set: 'date'.", "Did you mean data?"),
        (["--folds", "1"], "1 folds are too few.", "--folds 2"),
        (["--folds", "13"], "has 12 independent image(s), fewer than the 13", "--folds 12"),
    ],
)
def test_errors_name_cause_and_remedy(options, cause, remedy, shared_project, tlx):
    shown = tlx("fit-head", *options, cwd=shared_project, code=1)
    assert shown.stdout == ""
    lines = shown.stderr.splitlines()
    assert cause in lines[0]
    assert remedy in lines[1]


def test_nothing_embedded_yet(tlx, tmp_path):
    shown = tlx("fit-head", code=1)
    assert shown.stderr.splitlines() == [
        f"Error: nothing is embedded in {tmp_path / '.tlx'} yet.",
        "Run tlx embed DATA first.",
    ]


def test_data_set_without_labels(tmp_path, class_folders, grid, tlx):
    class_folders(tmp_path, {"photos": 6})
    embed_images(tmp_path / "photos", workspace=tmp_path / ".tlx", engine=grid)
    shown = tlx("fit-head", code=1).stderr
    assert "data set 'photos' has no labels" in shown
    assert "one folder a class" in shown


def test_one_class_only(tmp_path, class_folders, grid, tlx):
    class_folders(tmp_path / "data", {"cats": 6})
    embed_images(tmp_path / "data", workspace=tmp_path / ".tlx", engine=grid)
    assert "data set 'data' has one class only: 'cats'." in tlx("fit-head", code=1).stderr


def test_class_with_fewer_images_than_folds(tmp_path, class_folders, grid, tlx):
    class_folders(tmp_path / "data", {"cats": 12, "dogs": 3})
    embed_images(tmp_path / "data", workspace=tmp_path / ".tlx", engine=grid)
    shown = tlx("fit-head", code=1).stderr
    assert "class 'dogs' has 3 independent image(s), fewer than the 5 folds" in shown
    assert "use --folds 3" in shown
    assert fit(tlx, tmp_path, "--folds", "3")["n"] == 15


def test_copies_count_once_for_the_folds(tmp_path, class_folders, grid, tlx):
    data = class_folders(tmp_path / "data", {"cats": 8, "dogs": 1})
    for number in range(10):
        shutil.copy(data / "dogs" / "0000.png", data / "dogs" / f"copy{number}.png")
    embed_images(data, workspace=tmp_path / ".tlx", engine=grid)
    assert "class 'dogs' has 1 independent image(s)" in tlx("fit-head", code=1).stderr


def test_full_disk_leaves_no_half_run(project, tlx):
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    shown = tlx("fit-head", cwd=project, code=1, preexec_fn=small_files)
    assert "Error: no space left for" in shown.stderr
    assert [path.name for path in (project / ".tlx" / "runs").iterdir()] == ["logreg-1"]


def test_read_only_workspace(project, tlx, bound):
    (project / ".tlx" / "runs").chmod(0o555)
    shown = tlx("fit-head", cwd=project, code=1, preexec_fn=bound)
    (project / ".tlx" / "runs").chmod(0o755)
    assert "cannot be written: Permission denied." in shown.stderr


def test_damaged_manifest(project, tlx):
    (project / ".tlx" / "datasets" / "data.h5").write_bytes(b"no longer HDF5")
    shown = tlx("fit-head", cwd=project, code=1)
    assert "data.h5 is damaged or foreign" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_damaged_shard(project, tlx):
    (shard,) = (project / ".tlx" / "cache").rglob("*.h5")
    shard.write_bytes(shard.read_bytes()[:-100])
    shown = tlx("fit-head", cwd=project, code=1)
    assert "images have no features" in shown.stderr
    assert "Run tlx embed again" in shown.stderr


def test_near_duplicates_on_both_sides_are_told_and_kept_on_one_if_asked(project, tlx, make_grid):
    for name in ("0001", "0002"):
        with Image.open(project / "data" / "amber" / f"{name}.png") as image:
            image.save(project / "data" / "amber" / f"{name}-again.jpg", quality=85)
    embed_images(project / "data", workspace=project / ".tlx", engine=make_grid())
    both = tlx("fit-head", "--name", "both", cwd=project).stdout
    told = re.search(r"^(\d) images are near-duplicates of images of other folds", both, re.M)
    assert told
    assert fit(tlx, project, "--near-duplicates", "group", "--name", "one")["near_duplicates"] == {
        "handling": "group",
        "across": 0,
    }
    compared = json.loads(tlx("compare", "both", "--json", cwd=project).stdout)
    assert compared["near_duplicates"] == {"handling": "ignore", "across": int(told[1])}
    refused = tlx("fit-head", "--near-duplicates", "drop", cwd=project, code=1)
    assert "unknown handling of near-duplicates: 'drop'" in refused.stderr
