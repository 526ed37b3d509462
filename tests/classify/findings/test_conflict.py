from tlx.classify.audit import audit_run


def test_one_file_under_two_labels_is_a_conflict(place, add_dataset, draw):
    X, y = draw(40)
    digests = [bytes([i + 1]) * 32 for i in range(len(X))]
    digests[1] = digests[0]
    X = X.copy()
    X[1] = X[0]
    add_dataset("zoo", X, y, digests=digests)
    (found,) = audit_run(workspace=place, only="conflict").findings
    assert found.value == 1
    (image,) = found.images
    table = place.load_manifest("zoo")
    assert (image.path, image.other) == (table.path[1], table.path[0])
    assert image.label == "bee"


def test_without_one_there_is_none(place, add_dataset, draw):
    add_dataset("zoo", *draw(40))
    assert audit_run(workspace=place, only="conflict").findings == ()
