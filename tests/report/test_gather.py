import pytest

import tlx
from tlx.errors import DataError, UnknownNameError
from tlx.report.gather import gather_material
from tlx.workspace import Workspace


def damage(folder, run):
    (folder / ".tlx" / "runs" / run / "predictions.h5").write_bytes(b"nothing")


def test_by_default_it_is_the_best_run_and_all_like_it(studio):
    place = Workspace(studio / ".tlx")
    found = gather_material(None, None, place)
    assert found.run.id == tlx.load_run("best", place).id
    assert {run.id for run in found.audit.runs} == {"logreg-1", "lda-1", "centroid-1"}
    assert len(found.comparison.rows) == 3
    assert found.left_out == {}


def test_the_first_that_is_named_is_judged(studio):
    found = gather_material(["centroid-1", "lda-1"], None, Workspace(studio / ".tlx"))
    assert [run.id for run in found.audit.runs] == ["centroid-1", "lda-1"]
    assert gather_material("lda-1", None, Workspace(studio / ".tlx")).run.id == "lda-1"


def test_a_damaged_run_is_named_and_the_others_go_on(own_studio):
    damage(own_studio, "lda-1")
    place = Workspace(own_studio / ".tlx")
    for runs in (None, ["lda-1", "logreg-1", "centroid-1"]):
        found = gather_material(runs, None, place)
        assert {run.id for run in found.audit.runs} == {"logreg-1", "centroid-1"}
        assert list(found.left_out) == ["lda-1"]
        assert found.left_out["lda-1"].startswith("damaged: ")
    with pytest.raises(DataError, match="lda-1 cannot be read"):
        gather_material("lda-1", None, place)


def test_a_run_on_other_folds_is_left_out_with_the_reason(own_studio):
    place = Workspace(own_studio / ".tlx")
    other = tlx.fit_head("lda", folds=3, workspace=place)
    found = gather_material(["logreg-1", other], None, place)
    assert [run.id for run in found.audit.runs] == ["logreg-1"]
    assert "3-fold" in found.left_out[other.id]


def test_without_runs_there_is_the_data_set(studio, class_folders, make_grid, tmp_path):
    class_folders(tmp_path / "data", {"a": 4, "b": 4})
    tlx.embed_images(tmp_path / "data", workspace=tmp_path / ".tlx", engine=make_grid())
    found = gather_material(None, None, Workspace(tmp_path / ".tlx"))
    assert (found.run, found.comparison, found.audit.dataset) == (None, None, "data")


def test_an_unknown_run_or_data_set_is_an_error(studio):
    place = Workspace(studio / ".tlx")
    with pytest.raises(UnknownNameError, match="lda-1"):
        gather_material("lda-11", None, place)
    with pytest.raises(UnknownNameError, match="data"):
        gather_material(None, "dat", place)


def test_a_copy_of_a_run_has_no_second_vote(own_studio):
    place = Workspace(own_studio / ".tlx")
    tlx.fit_head("centroid", workspace=place.root)
    found = gather_material(None, None, place)
    (copy,) = found.left_out
    assert found.left_out[copy].startswith("the same as centroid-")
    assert copy not in {run.id for run in found.audit.runs}
