"""``--trust``: a scikit-learn classifier predicts only after its types were confirmed."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("skops.io", reason="the extra `skops` is not installed")

SVC_TYPE = "sklearn.svm._classes.SVC"
FIT = f"""
import tlx
from sklearn.svm import SVC
tlx.fit_head(SVC(), trusted=["{SVC_TYPE}"], name="theirs")
"""


@pytest.fixture
def with_theirs(project, python):
    """Return a project with a run ``theirs``, a classifier of scikit-learn."""
    python(FIT, cwd=project)
    return project


def test_predict_asks_and_says_what_to_type(with_theirs, run_tlx):
    shown = run_tlx("predict", "theirs", "data", cwd=with_theirs, code=1)
    assert f"of types that were not confirmed: {SVC_TYPE}." in shown.stderr
    assert f"--trust {SVC_TYPE}" in shown.stderr
    assert shown.stdout == ""


def test_with_the_type_confirmed_it_predicts(with_theirs, run_tlx):
    found = run_tlx(
        "predict", "theirs", "data/blue/0000.png", "--trust", SVC_TYPE, "--json", cwd=with_theirs
    )
    (row,) = json.loads(found.stdout)["predictions"]
    assert row["label"] == "blue"


def test_evaluate_asks_too(with_theirs, run_tlx):
    run_tlx("evaluate", "theirs", "data", cwd=with_theirs, code=1)
    shown = run_tlx("evaluate", "theirs", "data", "--trust", SVC_TYPE, cwd=with_theirs)
    assert "run theirs on 'data'" in shown.stdout


def test_another_type_does_not_do(with_theirs, run_tlx):
    shown = run_tlx("predict", "theirs", "data", "--trust", "os.system", cwd=with_theirs, code=1)
    assert SVC_TYPE in shown.stderr


def test_compare_needs_no_confirmation(with_theirs, run_tlx):
    assert "theirs" in run_tlx("compare", cwd=with_theirs).stdout


def test_it_is_not_the_best(with_theirs, run_tlx):
    shown = run_tlx("predict", "best", "data", "--trust", SVC_TYPE, cwd=with_theirs)
    assert "Using run theirs" not in shown.stderr
