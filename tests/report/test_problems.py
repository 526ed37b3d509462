from dataclasses import replace

import numpy as np
import pytest

from tlx.classify import large
from tlx.classify.findings.finding import Finding, Flagged
from tlx.report import problems
from tlx.report.album import Album


@pytest.fixture
def album(audit):
    return Album(audit.evidence.manifest)


def finding(name="suspect-label", code="TLX101", n=1, advice="Look at it.", **more):
    images = tuple(Flagged("amber/wrong.png", "amber", **more) for _ in range(n))
    return Finding(code, name, "warning", f"{n} found.", advice, images=images)


def test_each_kind_has_its_section():
    kinds = {"suspect-label": "suspects", "near-duplicate": "duplicates", "leak": "duplicates"}
    for name, section in kinds.items():
        assert problems.section_of(finding(name)) == section
    assert problems.section_of(finding("blurred", "TLX304")) == "odd"
    assert problems.section_of(finding("imbalance", "TLX502")) == ""


def test_the_overview_shows_some_and_the_section_all(album):
    one = finding(n=30)
    assert (len(problems.preview(one, album).shown), problems.preview(one, album).left) == (8, 22)
    (all_of_it,) = problems.whole([one, finding("leak")], "suspects", album)
    assert (len(all_of_it.shown), all_of_it.left) == (30, 0)


def test_a_photo_says_what_is_suggested(album):
    (shown,) = problems.preview(finding(suggested="teal", score=0.987), album).shown
    (card,) = shown.cards
    assert (card.path, card.label, card.suggested, card.score) == (
        "amber/wrong.png", "amber", "teal", "0.99",
    )  # fmt: skip


def test_pixels_have_no_decimals(album):
    (shown,) = problems.preview(finding("tiny", "TLX306", score=16.0), album).shown
    assert shown.cards[0].score == "16"


def test_what_belongs_together_stands_side_by_side(album):
    (shown,) = problems.preview(finding("conflict", other="teal/0005.png"), album).shown
    assert [(card.path, card.label) for card in shown.cards] == [
        ("amber/wrong.png", "amber"),
        ("teal/0005.png", "teal"),
    ]
    assert [(card.suggested, card.other) for card in shown.cards] == [("", "teal"), ("", "amber")]


def test_a_copy_of_the_same_class_can_get_no_other_label(album):
    (shown,) = problems.preview(finding("leak", other="amber/0001.png"), album).shown
    assert [card.other for card in shown.cards] == ["", ""]


def test_copies_under_two_labels_are_for_corrections(album):
    copies = Finding("TLX201", "near-duplicate", "grave", "1 image.", "Give both one label.")
    assert problems.preview(copies, album).command == "tlx relabel corrections.csv"
    assert problems.preview(replace(copies, severity="warning"), album).command == (
        "tlx fit-head --near-duplicates group"
    )


def test_the_command_is_that_of_the_kind_or_the_one_that_the_advice_names(album):
    advice = "Group them: tlx fit-head --near-duplicates group."
    assert problems.preview(finding("bursts", advice=advice), album).command == (
        "tlx fit-head --near-duplicates group"
    )
    ticked = "tlx relabel corrections.csv"
    assert problems.preview(finding(), album).command == ticked
    named = finding(advice="Look at them: tlx report, then tlx relabel corrections.csv.")
    assert problems.preview(named, album).command == ticked, "this is the report"
    assert problems.preview(finding("weak-slice", "TLX403"), album).command == ""


def test_suspects_stand_beside_what_is_most_like_them(album, audit):
    table = audit.evidence.table
    (one,) = problems.whole([finding(suggested="teal")], "suspects", album)
    (shown,) = problems.with_neighbours(one, table, album).shown
    assert [group.label for group in shown.neighbours] == list(table.class_names)
    assert {len(group.cards) for group in shown.neighbours} == {3}
    assert not any(card.can_be_fixed for group in shown.neighbours for card in group.cards)


def test_neighbours_are_neither_itself_nor_its_copies(audit):
    table = audit.evidence.table
    row = table.paths.index("amber/both.png")
    (found,) = problems.nearest_of_each_class(table, [row])
    copy = table.paths.index("teal/0005.png")
    assert not {row, copy} & {k for rows in found.values() for k in rows}
    for name, rows in found.items():
        assert {table.class_names[table.y[k]] for k in rows} == {name}


def test_neighbours_in_blocks_are_those_among_all(audit, monkeypatch):
    table = audit.evidence.table
    rows = np.arange(0, len(table), 3)
    X = table.X - table.X.mean(axis=0)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    found = problems.nearest_of_each_class(table, rows)
    for row, own in zip(rows, found, strict=True):
        others = (table.digest != table.digest[row]).any(axis=1)
        for c, name in enumerate(table.class_names):
            members = np.flatnonzero((table.y == c) & others)
            best = members[np.argsort(-(X[members] @ X[row]), kind="stable")[:3]]
            assert X[own[name]] @ X[row] == pytest.approx(X[best] @ X[row], abs=1e-6)
    monkeypatch.setattr(large, "BLOCK", 7 * table.X.shape[1])
    assert problems.nearest_of_each_class(table, rows) == found


def test_a_suspect_that_is_gone_is_shown_without_neighbours(album, audit):
    gone = Finding("TLX101", "suspect-label", "note", "t", "a", images=(Flagged("gone.png", "x"),))
    (one,) = problems.whole([gone], "suspects", album)
    (shown,) = problems.with_neighbours(one, audit.evidence.table, album).shown
    assert shown.neighbours == ()
    assert not shown.cards[0].can_be_fixed  # nothing is known of it that could be corrected
