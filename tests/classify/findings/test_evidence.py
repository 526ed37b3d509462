import numpy as np

from tlx.classify.audit import gather_evidence
from tlx.classify.findings.evidence import Evidence
from tlx.relabel import relabel_images


def test_what_a_run_said_goes_with_the_rows_of_the_table(place, add_dataset, draw):
    import tlx

    X, y = draw(40)
    add_dataset("zoo", X, y)
    run = tlx.fit_head("lda", workspace=place)
    evidence = Evidence(place, place.load_manifest("zoo"), runs=(run,))
    (scored,) = evidence.scored
    assert [evidence.table.paths[row] for row in scored.rows] == run.predictions().path
    assert scored.probabilities.shape == (len(X), 2)
    paths = [evidence.manifest.path[row] for row in evidence.rows]
    assert paths == evidence.table.paths
    assert np.array_equal(evidence.table.X, X)


def test_pictures_stand_in_the_order_of_the_table(place, add_dataset, draw):
    X, y = draw(6)
    add_dataset("zoo", X, y)
    manifest = place.load_manifest("zoo")
    manifest.pictures["brightness"][[1, 4]] = 0.25, 0.5
    manifest.error[0] = "not an image"
    evidence = Evidence(place, manifest)
    assert evidence.measured.tolist() == [True, False, False, True, False]
    assert evidence.pictures["brightness"][[0, 3]].tolist() == [0.25, 0.5]


def test_what_a_person_decided_is_known_while_it_is_of_this_very_image(
    place, add_dataset, draw, tmp_path
):
    X, y = draw(20)
    add_dataset("drawn", X, y)
    file = tmp_path / "corrections.csv"
    file.write_text("path,action,label\nant/0.png,keep,\nbee/1.png,relabel,ant\nant/2.png,drop,\n")
    relabel_images(file, workspace=place, apply=True)

    def evidence():
        return gather_evidence(None, "drawn", place)

    assert evidence().decided == {"ant/0.png": "keep", "bee/1.png": "relabel", "ant/2.png": "drop"}
    assert evidence().kept == {"ant/0.png"}
    assert "ant/2.png" not in evidence().table.paths
    snapshot = place.load_snapshot()
    snapshot.digest[0] = 1
    snapshot.save(place.manifest_path("drawn"))
    assert evidence().kept == set()


def test_a_run_of_other_classes_says_nothing(place, add_dataset, draw):
    import tlx

    X, y = draw(40)
    add_dataset("zoo", X, y)
    run = tlx.fit_head("lda", workspace=place)
    assert Evidence(place, place.load_manifest("zoo"), runs=(run,)).silent == ()
    relabel_images({"ant/0.png": "elk"}, workspace=place, new_classes="elk", apply=True)
    evidence = Evidence(place, place.load_manifest("zoo"), runs=(run,))
    assert evidence.silent == (run,)
    assert evidence.scored == ()


def test_near_duplicates_are_of_one_group(place, add_dataset, draw):
    X, y = draw(40)
    X[3] = X[7] * 1.001
    add_dataset("zoo", X, y)
    groups = Evidence(place, place.load_manifest("zoo")).groups
    assert groups[3] == groups[7]
    assert len(np.unique(groups)) == 39
