"""What a worker makes of an item."""

from __future__ import annotations

import pytest
from cluster_helpers import fail, threads, twice

from tlx import __version__
from tlx.embed.clusters.pool import ASK_VERSION, answer, check_version, worker_name
from tlx.embed.threads import limit_threads
from tlx.errors import DataError, TlxError


@pytest.fixture(autouse=True)
def no_limit():
    yield
    limit_threads(None)


def test_an_answer_tells_who_and_how_long():
    found = answer(twice, 1, 4, 1)
    assert (found.value, found.worker, found.error) == (9, worker_name(), None)
    assert found.seconds >= 0


def test_the_work_has_its_share_of_threads():
    assert answer(threads, None, 0, 3).value[0] == 3


def test_errors_come_back_as_answers():
    assert answer(fail, KeyError("x"), 0, 1).error == "KeyError: 'x'"
    told = DataError("no.", "yes")
    assert answer(fail, told, 0, 1).error is told


def test_another_version_is_refused():
    check_version("a:1", __version__)
    with pytest.raises(TlxError, match=r"worker a:1 has tlx 0.0.1, and here is tlx") as told:
        check_version("a:1", "0.0.1")
    assert told.value.remedy == f"Run there: pip install tlx-vision=={__version__}"


def test_any_worker_can_be_asked_for_its_version():
    assert eval(ASK_VERSION) == __version__
