"""Progress of parts and of the whole."""

from __future__ import annotations

from tlx.progress import share, silent


def test_a_part_is_told_as_part_of_the_whole():
    heard = []
    part = share(lambda done, total: heard.append((done, total)), 10, 20, 40)
    for done in range(3):
        part(done, 2)
    assert heard == [(10, 40), (20, 40), (30, 40)]


def test_progress_never_goes_back():
    heard = []
    part = share(lambda done, total: heard.append(done), 0, 10, 10)
    for done in (8, 2, 9):
        part(done, 10)
    assert heard == [8, 8, 9]


def test_parts_of_parts():
    heard = []
    whole = share(lambda done, total: heard.append((done, total)), 0, 1, 2)
    share(whole, 1, 1, 2)(1, 2)
    assert heard == [(0.75, 2)]


def test_work_without_steps_is_done():
    heard = []
    share(lambda done, total: heard.append(done), 0, 5, 5)(0, 0)
    assert heard == [5]


def test_silent_takes_the_same():
    assert silent(1, 2) is None
