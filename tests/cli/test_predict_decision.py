"""``tlx predict --prior`` and ``--cost``: what is said, and where it goes."""

from __future__ import annotations

import csv
import json

import pytest


def test_a_stated_prevalence_is_told(shared_project, run_tlx) -> None:
    done = run_tlx("predict", "best", "data", "--prior", "amber=0.9", "--json", cwd=shared_project)
    found = json.loads(done.stdout)
    assert found["prior"]["applied"] is True
    assert found["prior"]["used"] == pytest.approx(
        {"amber": 0.9, "blue": 0.0478, "coral": 0.0522}, abs=0.01
    )
    assert sum(found["prior"]["learned"].values()) == pytest.approx(1)
    assert "amber  35.1%    90.0%" in done.stderr
    plain = json.loads(run_tlx("predict", "best", "data", "--json", cwd=shared_project).stdout)
    both = zip(plain["predictions"], found["predictions"], strict=True)
    assert all(q["probabilities"]["amber"] > p["probabilities"]["amber"] for p, q in both)


def test_an_estimated_prevalence_is_told_with_its_interval(shared_project, run_tlx) -> None:
    done = run_tlx("predict", "best", "data", "--prior", "auto", "--json", cwd=shared_project)
    found = json.loads(done.stdout)["prior"]
    assert found["n"] == 37
    assert found["applied"] is False
    for name in ("amber", "blue", "coral"):
        told = found["estimate"][name]
        assert told["low"] <= told["value"] <= told["high"]
    assert "The prevalence did not move beyond chance (p " in done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 100
    few = run_tlx("predict", "best", "data/blue", "--prior", "auto", cwd=shared_project).stderr
    assert "was not estimated: that takes 30 different images, and there are 12" in " ".join(
        few.split()
    )


def test_costs_go_into_labels_and_tables(shared_project, run_tlx, tmp_path) -> None:
    costs = tmp_path / "costs.csv"
    lines = ["true,amber,blue,coral,unknown", "amber,0,9,9,1", "blue,9,0,9,1", "coral,9,9,0,1"]
    costs.write_text("\n".join(lines))
    output = tmp_path / "labels.csv"
    done = run_tlx(
        *("predict", "best", "data", "--cost", costs, "--json", "--output", output),
        cwd=shared_project,
    )
    found = json.loads(done.stdout)
    assert found["cost"]["expected"] <= found["cost"]["expected_of_most_probable"]
    assert "Expected cost an image: " in done.stderr
    with output.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} > {"unknown"}
    assert list(rows[0])[:5] == ["path", "label", "confidence", "error", "expected_cost"]
    assert all(float(row["expected_cost"]) < 1 + 1e-9 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cost", "fp=1,fn=20", "--positive", "blue"), "the run has 3"),
        (("--cost", "nowhere.csv"), "'nowhere.csv' cannot be read"),
        (("--prior", "auto", "--reject", "0.1"), "State it: --prior amber=0.05"),
        (("--prior", "teal=0.1"), "unknown class: 'teal'"),
        (("--prior", "amber=7\x1b[2J"), "is no number"),
    ],
)
def test_what_makes_no_sense_is_told(shared_project, run_tlx, arguments, message) -> None:
    told = run_tlx("predict", "best", "data", *arguments, cwd=shared_project, code=1).stderr
    assert message in told
    assert "Traceback" not in told
    assert "\x1b" not in told
