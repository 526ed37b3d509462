from dataclasses import replace

import pytest

from tlx.classify.audit import audit_run
from tlx.cli.audit import as_dict
from tlx.errors import DataError, UnknownNameError


@pytest.fixture
def zoo(place, add_dataset, draw):
    return add_dataset("zoo", *draw(40))


def test_a_data_set_without_runs_is_looked_at_too(zoo):
    found = audit_run(workspace=zoo)
    assert (found.dataset, found.runs) == ("zoo", ())


def test_a_kind_that_there_is_not_is_named(zoo):
    with pytest.raises(UnknownNameError, match="conflict"):
        audit_run(workspace=zoo, only="conflikt")


def test_by_default_the_best_run_is_judged(zoo):
    import tlx

    run = tlx.fit_head("lda", workspace=zoo)
    assert [one.id for one in audit_run(workspace=zoo).runs] == [run.id]


def test_a_run_whose_embeddings_are_not_cached_is_judged_by_others(zoo):
    """As that of a fine-tuned network."""
    import tlx

    run = tlx.fit_head("lda", workspace=zoo)
    own = {**run.source, "fingerprint": "f" * 64}
    tuned = replace(run, info=replace(run.info, sources=[own]))
    found = audit_run(tuned, workspace=zoo).evidence
    assert len(found.table) == 40
    assert len(found.scored[0].rows) == 40


def test_what_cannot_be_looked_for_is_said(zoo):
    import tlx

    no_run, unmeasured = audit_run(workspace=zoo).not_looked_for
    assert no_run.startswith("No run of this data set yet")
    assert unmeasured.startswith("40 images were embedded before tlx measured")
    assert unmeasured.endswith("Run tlx embed /nowhere/zoo")
    manifest = zoo.load_snapshot()
    manifest.pictures["brightness"] = 0.5
    manifest.save(zoo.manifest_path("zoo"))
    run = tlx.fit_head("lda", workspace=zoo)
    assert audit_run(workspace=zoo, only="conflict").not_looked_for == []
    tlx.relabel_images({"ant/0.png": "elk"}, workspace=zoo, new_classes="elk", apply=True)
    (silent,) = audit_run(run, workspace=zoo, only="conflict").not_looked_for
    assert silent.startswith("Run lda-1 judges no label")


def test_that_not_every_pair_was_compared_is_said_where_copies_were_looked_for(zoo, monkeypatch):
    def told(only):
        found = audit_run(workspace=zoo, only=only)
        said = [text for text in found.not_looked_for if "not every pair" in text]
        return as_dict(found)["near_duplicates_approximate"], len(said)

    assert told("near-duplicate") == (False, 0)
    monkeypatch.setattr("tlx.classify.cosine.MANY", 39)
    assert told("near-duplicate") == (True, 1)
    assert told("conflict") == (False, 0)


def test_runs_of_two_data_sets_are_not_judged_together(zoo, add_dataset, draw):
    import tlx

    first = tlx.fit_head("lda", workspace=zoo)
    add_dataset("park", *draw(40))
    second = tlx.fit_head("lda", dataset="park", workspace=zoo)
    with pytest.raises(DataError, match="2 data sets: park, zoo"):
        audit_run([first, second], workspace=zoo)


def test_it_shows_itself_in_a_line_and_in_a_notebook_as_a_table(zoo):
    found = audit_run(workspace=zoo)
    n = len(found.findings)
    assert repr(found) == f"<Audit of 'zoo': {n} finding{'s' * (n != 1)}, 0 of them grave>"
    assert found._repr_html_().count("<tr>") == n + 1


def test_without_labels_what_needs_none_is_looked_for(place, add_dataset, draw, draw_thumbs):
    X, _ = draw(40)
    thumbs = draw_thumbs(40)
    X[7], thumbs[7] = X[3], thumbs[3]
    add_dataset("heap", X, [-1] * 40, thumbs=thumbs)
    found = audit_run(workspace=place)
    (note,) = found.not_looked_for
    assert note.startswith("No image has a label")
    assert "near-duplicate" in {one.name for one in found.findings}
    assert not {one.name for one in found.findings} & {"small-class", "conflict", "suspect-label"}
    assert {image.label for one in found.findings for image in one.images} == {""}
