import numpy as np
import pytest

from tlx.classify.audit import audit_run
from tlx.classify.findings.data_set import neighbours_by_name, neighbours_by_time


def found_in(place, name):
    return audit_run(workspace=place, only=name).findings


def test_classes_of_few_images_are_named_the_smallest_first(place, add_dataset, draw):
    X, _ = draw(60)
    add_dataset("zoo", X, np.repeat([0, 1, 2], [45, 4, 11]))
    (found,) = found_in(place, "small-class")
    assert found.title == ("2 of 3 classes have fewer than 20 independent images: bee 4, cat 11.")
    assert (found.severity, found.value) == ("warning", 4)


def test_copies_do_not_make_a_class_large(place, add_dataset, draw):
    X, _ = draw(60)
    X[30:] = X[30]
    digests = [bytes([i]) * 32 for i in [*range(1, 31), *[99] * 30]]
    add_dataset("zoo", X, np.repeat([0, 1], [30, 30]), digests=digests)
    (found,) = found_in(place, "small-class")
    assert found.value == 1


@pytest.mark.parametrize(("counts", "told"), [((100, 10), True), ((100, 11), False)])
def test_classes_are_unequal_from_ten_to_one_on(place, add_dataset, draw, counts, told):
    add_dataset("zoo", draw(sum(counts))[0], np.repeat([0, 1], counts))
    found = found_in(place, "imbalance")
    assert bool(found) == told
    if told:
        assert (
            found[0].title
        ) == "'ant' has 100 images and 'bee' 10: to say 'ant' always is right for 91% of all."


def in_series(n, length, rng, within=0.3):
    """Return features of two classes (n, 8) in series, each of `length` alike images."""
    y = np.arange(n) // (n // 2)
    subject = rng.normal(size=(n // length + 1, 8))[np.arange(n) // length]
    return (y[:, None] + subject + rng.normal(0, within, (n, 8))).astype(np.float32), y


def test_images_with_consecutive_names_that_are_alike_are_a_burst(place, add_dataset):
    X, y = in_series(200, 5, np.random.default_rng(0))
    add_dataset("zoo", X, y)
    (found,) = found_in(place, "bursts")
    assert "names one after the other" in found.title
    assert 0.7 < found.low < found.value < found.high <= 1
    first = found.images[0]
    numbers = [int(path.split("/")[1].split(".")[0]) for path in (first.path, first.other)]
    assert numbers[1] - numbers[0] == 1


def test_consecutive_names_of_different_things_are_none(place, add_dataset):
    X, y = in_series(200, 1, np.random.default_rng(0))
    add_dataset("zoo", X, y)
    assert found_in(place, "bursts") == ()


def test_images_of_one_group_need_no_advice(place, add_dataset):
    X, y = in_series(200, 5, np.random.default_rng(0))
    add_dataset("zoo", X, y)
    manifest = place.load_manifest("zoo")
    manifest.group = [str(i // 5) for i in range(200)]
    manifest.save(place.manifest_path("zoo"))
    assert found_in(place, "bursts") == ()


def test_neighbours_by_name_count_within_a_folder_and_a_stem():
    paths = ["patient12_3.jpg", "patient12_4.jpg", "patient13_5.jpg", "x/9.png", "x/010.png"]
    assert neighbours_by_name(paths).tolist() == [[0, 1], [3, 4]]
    assert neighbours_by_name(["IMG (1).jpg", "IMG (2).jpg", "none.jpg"]).tolist() == [[0, 1]]
    long = ["7" * 5000 + "1.jpg", "7" * 5000 + "2.jpg"]  # as a foreign file may have them
    assert neighbours_by_name(long).tolist() == [[0, 1]]


def test_neighbours_by_time_are_of_one_camera():
    taken = np.array([100.0, 105.0, np.nan, 104.0, 300.0])
    camera = np.array([b"A", b"A", b"A", b"B", b"A"])
    assert neighbours_by_time(taken, camera).tolist() == [[0, 1]]
