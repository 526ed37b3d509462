import numpy as np

from tlx.classify.findings.evidence import Evidence


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
