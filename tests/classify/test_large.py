import numpy as np

from tlx.classify import large
from tlx.classify.large import are_large, blocks_of, draw_rows, is_large


def test_blocks_cover_all_rows_once(monkeypatch):
    monkeypatch.setattr(large, "BLOCK", 70)
    blocks = list(blocks_of(25, 10))
    assert [b.stop - b.start for b in blocks] == [7, 7, 7, 4]
    assert np.concatenate([np.arange(25)[b] for b in blocks]).tolist() == list(range(25))
    assert len(list(blocks_of(3, 1000))) == 3  # a row at least


def test_what_is_large_goes_by_bytes(monkeypatch):
    monkeypatch.setattr(large, "MEMORY", 800)
    assert not is_large(np.zeros((50, 4), np.float32))
    assert is_large(np.zeros((51, 4), np.float32))


def test_few_rows_of_many_columns_are_not_worked_on_in_blocks():
    """A product of columns, such as those of flattened maps, would take more room than the rows."""
    assert not are_large(10_000, 62_720)
    assert are_large(1_000_000, 1_280)


def test_groups_are_drawn_whole_and_at_random():
    groups = np.arange(3000) // 3
    rows = np.arange(0, 3000)
    drawn = draw_rows(rows, groups, 300)
    assert 295 <= len(drawn) <= 300
    assert (np.bincount(groups[drawn])[np.unique(groups[drawn])] == 3).all()
    assert (np.diff(drawn) > 0).all()
    assert not np.array_equal(drawn, draw_rows(rows, groups, 300, seed=1))


def test_a_group_larger_than_the_sample_is_not_in_it():
    groups = np.r_[np.zeros(50, int), np.arange(1, 51)]
    drawn = draw_rows(np.arange(100), groups, 30)
    assert len(drawn) == 30
    assert (groups[drawn] > 0).all()


def test_few_rows_are_all_taken():
    assert draw_rows(np.array([5, 2]), np.arange(9), 2).tolist() == [2, 5]
