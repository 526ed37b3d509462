import numpy as np

import tlx
from tlx.classify.audit import audit_run
from tlx.classify.findings.confused_pair import confused_pairs


def test_one_class_under_two_names_is_found_and_no_other_pair(place, add_dataset, draw):
    X, y = draw(300, classes=3, spread=1.0)
    two = np.where((y == 2) & (np.arange(300) % 2 == 1), 3, y)  # half of class 2 is called 3
    add_dataset("zoo", X, two)
    run = tlx.fit_head("lda", workspace=place)
    (found,) = audit_run(run, workspace=place, only="confused-pair").findings
    assert "'cat'" in found.title
    assert "'dog'" in found.title
    assert {image.label for image in found.images} == {"cat", "dog"}
    assert [i.score for i in found.images] == sorted((i.score for i in found.images), reverse=True)


def test_classes_that_are_told_apart_are_no_pair(place, add_dataset, draw):
    add_dataset("zoo", *draw(200, classes=4, spread=0.5))
    run = tlx.fit_head("lda", workspace=place)
    assert audit_run(run, workspace=place, only="confused-pair").findings == ()


def test_errors_that_are_spread_evenly_make_a_pair_in_one_data_set_of_twenty_at_most():
    rng, made = np.random.default_rng(0), 0
    for _ in range(400):
        share = np.full((5, 5), 0.07) + np.diag(np.full(5, 0.65))
        confusion = np.stack([rng.multinomial(60, row) for row in share])
        made += bool(confused_pairs(confusion))
    assert made <= 20


def test_two_classes_are_a_pair_only_where_guessing_is_as_good():
    assert confused_pairs(np.array([[52, 48], [50, 50]])) == [(0, 1)]
    assert confused_pairs(np.array([[70, 30], [30, 70]])) == []
    assert confused_pairs(np.array([[3, 2], [2, 3]])) == []  # of so few nothing is known


def test_confusion_in_one_direction_is_no_pair():
    assert confused_pairs(np.array([[60, 40, 0], [0, 100, 0], [0, 0, 100]])) == []
