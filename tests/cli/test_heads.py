"""What the command line takes from the registry of heads; adding a head is adding one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tlx as tlx_package
from tlx.classify.heads.registry import heads

NEW = '''
"""The most frequent class, whatever the image."""

import numpy as np

from .head import Head, Option, PredictorPoint
from .linear import LinearPredictor


def _fit(problems, grid):
    for smoothing in grid["smoothing"]:
        made = []
        for weight in problems.weights:
            counts = np.bincount(problems.y, weight, minlength=problems.n_classes) + smoothing
            D = problems.X.shape[1]
            bias = np.log(counts / counts.sum()).astype(np.float32)
            made.append(LinearPredictor(np.zeros((D, len(bias)), np.float32), bias))
        yield PredictorPoint({"smoothing": smoothing}, problems.X, made)


HEAD = Head(
    name="majority",
    help="the most frequent class",
    estimator="MajorityHead",
    notes="It never looks at the features.",
    fit=_fit,
    predictors=(LinearPredictor,),
    options=(Option("smoothing", "Images added to each class", float, 1.0, grid=(9.0, 1.0)),),
    seeds=True,
)
'''
ADD = """
import sys
import tlx.classify.heads
tlx.classify.heads.__path__.append({folder!r})
"""
RUN = (
    ADD
    + """
from tlx.cli.main import main
sys.argv = ["tlx", *{arguments}]
main()
"""
)


@pytest.fixture
def with_new_head(tmp_path, python, project):
    """Return a function that runs tlx after one file was added to the folder of heads."""
    (tmp_path / "majority.py").write_text(NEW)

    def run(code: str = RUN, **names) -> str:
        return python(code.format(folder=str(tmp_path), **names), cwd=project)

    return run


@pytest.mark.slow
def test_a_head_is_added_by_adding_a_file(with_new_head):
    text = " ".join(with_new_head(arguments=["fit-head", "--help"]).split())
    assert "logreg, majority, ridge, svm or vote" in text
    assert "--smoothing" in text
    assert "Images added to each class, instead of a search (majority)." in text
    assert "majority" in with_new_head(arguments=["learning-curve", "--help"])
    shown = with_new_head(arguments=["fit-head", "--model", "majority,centroid", "--name", "new"])
    assert "run new-majority in" in shown
    shown = with_new_head(arguments=["fit-head", "--model", "majority", "--smoothing", "3"])
    assert "smoothing 3" in shown
    shown = with_new_head(arguments=["predict", "new-majority", "data"])
    assert " predictions: " in shown
    with_new_head(
        ADD
        + """
import numpy as np
import tlx
from tlx.classify.heads.registry import heads
from tlx.finetune.seed import SEEDS
assert "majority" in heads()  # which --model all goes through
assert "majority" in SEEDS
run = tlx.load_run("new-majority")
assert type(run.head()).__name__ == "LinearPredictor"
X = np.zeros((6, 2)) + np.arange(6)[:, None]
head = tlx.heads.MajorityHead(smoothing=2.0).fit(X, list("aabbbb"))
assert head.predict(X).tolist() == ["b"] * 6
"""
    )


def test_the_page_has_every_head_as_it_is(source_files):
    page = (Path(tlx_package.__file__).parent / "docs" / "heads.md").read_text(encoding="utf-8")
    rows = []
    for head in heads().values():
        searched = " and ".join(
            f"`--{name}`, {len(grid)} values, {min(grid):g} to {max(grid):g}"
            for name, grid in head.grid.items()
        )
        rows.append(f"| `{head.name}` | {head.help} | {searched or 'nothing'} |")
    assert "| head | what it is | searched |\n|---|---|---|\n" + "\n".join(rows) + "\n\n" in page
    advised = page.partition("| head | take it when |")[2].partition("\n\n")[0]
    named = re.findall(
        r"`([a-z]+)(?: --[^`]*)?`", "\n".join(re.findall("^\\| (.*?) \\|", advised, re.M))
    )
    assert sorted(named) == sorted(heads())


def test_every_option_says_which_heads_have_it(tlx):
    text = " ".join(tlx("fit-head", "--help").stdout.split())
    assert "Which head to fit: centroid, dense, knn, lda, logreg, ridge, svm or vote;" in text
    assert "instead of a search (logreg, svm, vote)." in text
    assert "(all but centroid)." in text
    for head in heads().values():
        for option in head.options:
            assert f"--{option.name.replace('_', '-')} " in text


def test_a_number_of_neighbours_is_fixed(project, tlx):
    assert ", k 3" in tlx("fit-head", "--model", "knn", "--k", "3", cwd=project).stdout


def test_units_that_are_no_numbers_are_a_usage_error(project, tlx):
    shown = tlx("fit-head", "--model", "dense", "--hidden", "x", cwd=project, code=2)
    assert "'x' is no list of numbers, such as 256 or 256,64." in shown.stderr


def test_help_of_heads_imports_no_framework(python):
    python(
        """
import sys
from tlx.cli.main import main
sys.argv = ["tlx", "fit-head", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
assert not {"tensorflow", "keras", "sklearn", "scipy", "openvino", "PIL"} & set(sys.modules)
"""
    )
