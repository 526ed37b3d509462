import numpy as np
import pytest

from tlx.report.judged import Judged


@pytest.fixture(scope="module")
def judged(audit):
    return Judged(audit.runs[0])


def test_mistakes_come_with_the_surest_first(judged):
    assert (judged.predicted[judged.wrong] != judged.scored.label[judged.wrong]).all()
    assert (np.diff(judged.confidence[judged.wrong]) <= 0).all()
    right = judged.run.metrics["accuracy"].value
    assert len(judged.wrong) == round((1 - right) * len(judged.scored.path))


def test_cells_hold_the_images_of_the_confusion_matrix(judged):
    assert judged.confusion.tolist() == judged.run.info.confusion
    for t, p in np.argwhere(judged.confusion):
        rows = judged.cell(t, p, 1000)
        assert len(rows) == judged.confusion[t, p]
        assert (judged.scored.label[rows] == t).all()
        sign = 1 if t == p else -1
        assert (sign * np.diff(judged.confidence[rows]) >= 0).all()
    assert len(judged.cell(0, 0, 2)) == 2


def test_bins_of_confidence_hold_all_images_and_their_share(judged):
    bins = judged.reliability()
    assert sum(n for _, _, n in bins) == len(judged.scored.path)
    assert all(m.low <= m.value <= m.high and m.low < m.high for _, m, _ in bins)
    right = sum(m.value * n for _, m, n in bins) / len(judged.scored.path)
    assert right == pytest.approx(judged.run.metrics["accuracy"].value)


def test_what_is_said_is_told_by_path(judged):
    row = judged.wrong[0]
    name = judged.run.class_names[judged.predicted[row]]
    assert judged.said()[judged.scored.path[row]] == f"{name} {judged.confidence[row]:.2f}"
