"""``tlx audit``: what it prints, and the files it writes."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tlx.classify.findings.finding import Finding, Flagged
from tlx.cli import audit

LONG = "a/very/long/folder/name/that/goes/on/and/on/for/ever/and/ever/IMG_0042.jpg"
HOSTILE = "\x1b[2Jcats/\n=1.jpg"


def found(*images: Flagged, severity: str = "warning", **more: Any) -> Finding:
    return Finding(
        "TLX999", "odd-one", severity, "3 images are odd.", "Look at them.", images=images, **more
    )


@dataclass
class Looked:
    """What stands for an `Audit`."""

    findings: tuple[Finding, ...]
    dataset: str = "zoo"
    runs: tuple[Any, ...] = ()
    not_looked_for: tuple[str, ...] = ()
    approximate: bool = False
    evidence: Any = field(default_factory=lambda: Evidence([""] * 1399))


@dataclass
class Evidence:
    manifest: Any


def test_a_finding_says_what_it_is_what_to_do_and_which_images_first():
    images = [Flagged(f"cats/{i}.jpg", "cats", "dogs", 0.9 - i / 100) for i in range(7)]
    assert audit.finding_text(found(*images)).splitlines() == [
        "TLX999 odd-one (warning)",
        "  3 images are odd.",
        "  Look at them.",
        "  image       label  suggested  score",
        *(f"  cats/{i}.jpg  cats   dogs       {0.9 - i / 100:.3g}" for i in range(5)),
        "  … and 2 more",
    ]


def test_long_paths_fit_80_columns_and_what_does_not_print_is_escaped():
    images = [Flagged(LONG, "cats", other=LONG), Flagged(HOSTILE, "cats\x07", score=0.5)]
    text = audit.as_text(Looked((found(*images),)))
    assert max(map(len, text.splitlines())) <= 80
    assert text.replace("\n", "").isprintable()
    assert r"\x1b[2Jcats/\n=1.jpg" in text


def test_a_title_may_be_long_and_hostile():
    finding = Finding("TLX999", "odd-one", "note", "\x1b[2J" + "word " * 40, "x" * 20)
    text = audit.finding_text(finding)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_the_head_line_counts():
    assert audit.as_text(Looked(())).startswith("no findings in 'zoo' (1,399 images)")
    assert audit.as_text(Looked((found(),))).startswith("1 finding in 'zoo'")


def test_csv_has_a_row_an_image_and_one_where_there_is_none():
    written = audit.to_csv((found(Flagged("a.jpg", "cats", "dogs", 0.25, "b.jpg")), found()))
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [row["path"] for row in rows] == ["a.jpg", ""]
    assert rows[0] == {
        "code": "TLX999",
        "name": "odd-one",
        "severity": "warning",
        "path": "a.jpg",
        "label": "cats",
        "suggested": "dogs",
        "score": "0.25",
        "other": "b.jpg",
        "title": "3 images are odd.",
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_text_in_the_csv_is_a_formula_or_ends_its_row(start):
    image = Flagged(f"{start}1+1.jpg", f"{start}cats", f"{start}dogs", -1.0, f"{start}x")
    (row,) = csv.DictReader(io.StringIO(audit.to_csv((found(image),)), newline=""))
    assert {row[name] for name in ("path", "label", "suggested", "other")} == {
        f"'{start}{rest}" for rest in ("1+1.jpg", "cats", "dogs", "x")
    }
    assert row["score"] == "-1"


def test_json_has_no_number_that_json_does_not_know():
    nan, inf = float("nan"), float("inf")
    looked = Looked((found(Flagged("a", "b", score=nan), value=inf, low=nan),))
    (finding,) = audit.as_dict(looked)["findings"]
    assert (finding["value"], finding["low"], finding["images"][0]["score"]) == (None, None, None)


def test_the_command_prints_json_with_the_promised_keys(shared_project, run_tlx, tmp_path):
    path = tmp_path / "findings.csv"
    done = run_tlx("audit", "--json", "--output", path, cwd=shared_project)
    told = json.loads(done.stdout)
    assert (told["dataset"], told["run"]) == ("data", "logreg-1")
    for finding in told["findings"]:
        assert set(finding) == {
            *("code", "name", "severity", "title", "value", "low", "high", "advice", "images")
        }
        for image in finding["images"]:
            assert set(image) == {"path", "label", "suggested", "score", "other"}
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert {row["code"] for row in rows} == {finding["code"] for finding in told["findings"]}


def test_the_command_ends_with_what_to_type_next(shared_project, run_tlx):
    done = run_tlx("audit", "logreg-1", "--only", "conflict", cwd=shared_project)
    assert done.stdout.startswith("no findings in 'data' (37 images, judged by logreg-1)")
    assert done.stdout.endswith("Next: tlx report logreg-1\n")
    assert "--only" not in done.stderr
    assert "Error: unknown finding: 'conflicts'." in (
        run_tlx("audit", "--only", "conflicts", cwd=shared_project, code=1).stderr
    )


def test_no_network_is_imported(shared_project, python):
    code = """
import sys
from tlx.cli.main import main
sys.argv = ["tlx", "audit", "--workspace", sys.argv[1]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
found = [name for name in ("tensorflow", "keras", "openvino") if name in sys.modules]
assert not found, found
"""
    assert "Next: tlx report" in python(code, shared_project / ".tlx")
