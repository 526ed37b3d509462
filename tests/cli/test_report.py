import json
import webbrowser

import pytest

from tlx.cli import common, report


@pytest.fixture(scope="module")
def told(shared_project, run_tlx, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    where = ["--workspace", shared_project / ".tlx"]
    return folder, json.loads(run_tlx("report", *where, "--json", cwd=folder).stdout)


def test_it_writes_a_page_and_tells_its_size(told):
    folder, found = told
    assert found["path"] == "report.html"
    assert found["bytes"] == (folder / "report.html").stat().st_size
    assert found["runs"] == ["logreg-1"]
    assert found["findings"] >= 0
    assert found["seconds"] > 0
    assert found["left_out"] == []


def test_another_file_is_not_written_over(told, shared_project, run_tlx):
    folder, _ = told
    (folder / "mine.html").write_text("mine")
    options = ["--workspace", shared_project / ".tlx", "--output", "mine.html"]
    error = run_tlx("report", *options, cwd=folder, code=1).stderr
    assert "mine.html is there already" in error
    assert "--overwrite" in error
    assert (folder / "mine.html").read_text() == "mine"


def test_it_opens_in_a_browser(shared_project, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(common.MANNERS, "quiet", True)
    path = tmp_path / "my report.html"
    report.report(output=path, open_=True, workspace=shared_project / ".tlx")
    assert opened == [path.as_uri()]
    assert "Open it in a browser" in capsys.readouterr().out


def test_runs_that_are_not_in_it_are_told_by_reason():
    assert report.not_in_it({"a": "other folds", "b": "damaged", "c": "other folds"}) == [
        "Runs a, c are not in it: other folds",
        "Run b is not in it: damaged",
    ]
