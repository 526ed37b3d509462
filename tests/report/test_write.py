import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import tlx
from tlx.errors import DataError
from tlx.workspace import Workspace

SECTIONS = (
    "findings", "verdict", "heads", "confusion", "wrong", "suspects", "duplicates", "odd", "map",
    "classes", "reliability", "curve", "finetuning", "next", "provenance",
)  # fmt: skip
VOID = {"meta", "img", "input", "circle", "line", "polyline", "br"}


class Elements(HTMLParser):
    """All elements of a page with their text, and whether each that was begun has ended."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.ids, self.text = [], [], [], []
        self.feed(page.decode())
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def data_of(page):
    text = re.search(rb'<script type="application/json" id="data">(.*?)</script>', page)[1]
    return json.loads(text)


def test_the_page_has_every_section_in_order(page_of_studio):
    found = Elements(page_of_studio)
    assert [i for i in found.ids if i in SECTIONS] == list(SECTIONS)
    assert len(found.ids) == len(set(found.ids))


def test_pictures_that_were_not_measured_are_not_called_fine(studio, tmp_path):
    shutil.copytree(studio / ".tlx", tmp_path / "ws")
    place = Workspace(tmp_path / "ws")
    manifest = place.load_snapshot("data")
    manifest.pictures = manifest.pictures[:0]
    replace(manifest).save(place.manifest_path("data"))
    path = tlx.write_report(output=tmp_path / "r.html", workspace=place.root).path
    text = path.read_text(encoding="utf-8")
    assert "images were embedded before tlx measured" in text
    assert "No image stands out" not in text


def test_hostile_names_are_text(page_of_studio, hostile):
    found = Elements(page_of_studio)
    assert sum(tag == "script" for tag, _ in found.seen) == 2
    assert b"<script>alert" not in page_of_studio
    paths = [photo[0] for photo in data_of(page_of_studio)["photos"]]
    folder = hostile.replace("/", "")
    for name in ('"quoted" & <b>.png', "\u202eאבג.png", "n" * 200 + ".png"):
        assert f"{folder}/{name}" in paths


def test_every_photo_is_there_once_with_its_digest(page_of_studio, studio, audit):
    photos = data_of(page_of_studio)["photos"]
    assert len(photos) == len({photo[0] for photo in photos}) == 43
    digests = {bytes(row).hex() for row in audit.evidence.manifest.digest}
    assert {photo[2] for photo in photos} <= digests
    assert all(photo[4].startswith("data:image/") for photo in photos)


def test_findings_are_told_first_with_what_to_type(page_of_studio, audit):
    first = page_of_studio.decode().split('id="verdict"')[0]
    assert audit.findings
    for finding in audit.findings:
        assert finding.code in first
    assert "tlx relabel" in first


def test_photos_that_are_gone_or_changed_have_a_place_and_no_picture(own_studio, tmp_path):
    shutil.rmtree(own_studio / "data" / "teal")
    (own_studio / "data" / "amber" / "wrong.png").write_bytes(b"changed")
    report = tlx.write_report(output=tmp_path / "r.html", workspace=own_studio / ".tlx")
    photos = data_of(report.path.read_bytes())["photos"]
    without = {photo[0] for photo in photos if not photo[4]}
    assert "amber/wrong.png" in without
    assert len(without) == 14


def test_a_damaged_run_is_named_in_the_page(own_studio, tmp_path):
    """And the report shows itself in a line."""
    (own_studio / ".tlx" / "runs" / "lda-1" / "run.json").write_text("{")
    report = tlx.write_report(output=tmp_path / "r.html", workspace=own_studio / ".tlx")
    assert list(report.left_out) == ["lda-1"]
    assert repr(report).startswith(f"<Report '{tmp_path}/r.html' of 'data': ")
    assert "2 runs" in repr(report)
    assert "is not in this report: damaged" in report.path.read_text("utf-8")


@pytest.mark.parametrize("counts", [{"a": 2, "b": 1}, {"a": 1}, {"a": 9}])
def test_a_data_set_without_runs_has_a_page_too(counts, class_folders, make_grid, tmp_path):
    class_folders(tmp_path / "data", counts)
    tlx.embed_images(tmp_path / "data", workspace=tmp_path / ".tlx", engine=make_grid())
    report = tlx.write_report(output=tmp_path / "r.html", workspace=tmp_path / ".tlx")
    found = Elements(report.path.read_bytes())
    assert [i for i in found.ids if i in SECTIONS] == list(SECTIONS)
    assert "There is no run yet." in " ".join(found.text)


def test_a_report_is_replaced_and_other_files_are_not(studio, tmp_path):
    path = tmp_path / "report.html"
    for _ in range(2):
        assert tlx.write_report("lda-1", path, workspace=studio / ".tlx").path == path
    path.write_text("my own page")
    with pytest.raises(DataError, match=r"no report of tlx.*\n.*--overwrite"):
        tlx.write_report("lda-1", path, workspace=studio / ".tlx")
    with pytest.raises(DataError, match="no report"):
        tlx.write_report("lda-1", tmp_path, workspace=studio / ".tlx")
    assert path.read_text() == "my own page"
    tlx.write_report("lda-1", path, workspace=studio / ".tlx", overwrite=True)
    assert b"tlx report" in path.read_bytes()


def test_commands_are_for_the_workspace_of_the_report(
    studio, page_of_studio, monkeypatch, tmp_path
):
    assert f"tlx relabel --workspace {studio}/.tlx corrections.csv" in page_of_studio.decode()
    monkeypatch.chdir(studio)
    report = tlx.write_report("lda-1", tmp_path / "r.html")
    assert "--workspace" not in report.path.read_text("utf-8")


@pytest.mark.slow
def test_many_images_stay_within_the_size(tmp_path, save_many):
    save_many(Workspace(tmp_path / ".tlx"), 6000)
    report = tlx.write_report(output=tmp_path / "r.html", workspace=tmp_path / ".tlx")
    assert report.bytes < 15_000_000
    text = report.path.read_text("utf-8")
    assert "5,000 of 6,000 images are drawn" in text
    assert text.count('<circle class="c') == 5000


def test_the_learning_curve_is_measured_on_request(studio, tmp_path, page_of_studio):
    assert "tlx report --workspace" in page_of_studio.decode().split('id="curve"')[1]
    path = tmp_path / "r.html"
    tlx.write_report("lda-1", path, workspace=studio / ".tlx", curve=True)
    section = path.read_text("utf-8").split('id="curve"')[1].split("</section>")[0]
    assert "<polyline" in section
    assert "twice the images" in section


def test_what_is_not_shown_is_listed_by_the_same_runs(studio, tmp_path, monkeypatch):
    for limit in ("_FEW", "_MANY", "_LISTED"):
        monkeypatch.setattr(f"tlx.report.problems.{limit}", 0)
    runs = ["lda-1", "logreg-1"]
    path = tlx.write_report(runs, tmp_path / "r.html", workspace=studio / ".tlx").path
    command = f"tlx audit --workspace {studio}/.tlx lda-1 logreg-1 --output findings.csv"
    assert command in path.read_text("utf-8")


def test_commands_name_the_data_set_if_another_was_embedded_since(tmp_path, save_many, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Workspace(".tlx")
    save_many(place, 30)
    page = tlx.write_report(workspace=place).path.read_text(encoding="utf-8")
    assert "tlx relabel corrections.csv" in page
    later = replace(place.load_manifest("many"), name="later")
    later.save(place.manifest_path("later"))
    page = tlx.write_report(dataset="many", workspace=place).path.read_text(encoding="utf-8")
    assert "tlx relabel --dataset many corrections.csv" in page
    assert "tlx relabel corrections.csv" not in page
    assert "tlx embed --dataset" not in page
