"""Processes on this machine."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from cluster_helpers import kill, stop, threads

from tlx.embed.clusters.processes import Processes
from tlx.embed.clusters.registry import find_cluster
from tlx.errors import DataError


@pytest.fixture
def pool():
    made = Processes(2)
    yield made
    made.close()


def all_of(pool, count):
    ended = []
    until = time.monotonic() + 60
    while len(ended) < count and time.monotonic() < until:
        ended += pool.wait(1.0)
    return ended


@pytest.mark.parametrize("rest", ["0", "x", "", "-1", "1.5", "²", "100000", "//4"])
def test_what_is_no_number_of_processes(rest):
    with pytest.raises(DataError, match=f"'processes:{rest}' names no number of processes") as told:
        find_cluster(f"processes:{rest}")
    assert "processes:" in told.value.remedy


def test_a_worker_has_its_share_of_the_processors_and_leaves_ctrl_c_to_its_parent(pool):
    pool.begin(threads, None)
    pool.submit(0)
    (ended,) = all_of(pool, 1)
    share = max(1, os.cpu_count() // 2)
    assert ended.answer.value == (share, str(share), True)


def test_only_the_item_of_a_lost_process_is_lost(pool, tmp_path):
    (tmp_path / "1").touch()
    pool.begin(kill, str(tmp_path))
    tickets = [pool.submit(0), pool.submit(1)]
    ended = {one.ticket: one for one in all_of(pool, 2)}
    assert ended[tickets[0]].answer.value == 0
    assert ended[tickets[1]].answer is None
    assert ended[tickets[1]].lost == "its process was lost (TerminatedWorkerError)"
    pool.submit(1)
    assert all_of(pool, 1)[0].answer.value == 1


def test_a_process_that_is_dropped_is_ended(pool, tmp_path):
    (tmp_path / "0").touch()
    pool.begin(stop, str(tmp_path))
    hung = pool.submit(0)
    assert pool.wait(1.5) == []
    pool.drop(hung)
    pool.submit(1)
    (ended,) = all_of(pool, 1)
    assert ended.answer.value != os.getpid()


def test_processes_end_with_the_one_that_started_them(python, tmp_path):
    """Also if it was killed, and could not tell them."""
    pid = int(
        python(
            "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
            "from cluster_helpers import stop; from tlx.embed.clusters.processes import Processes\n"
            "pool = Processes(1); pool.begin(stop, sys.argv[2]); pool.submit(0)\n"
            "print(pool.wait(60)[0].answer.value, flush=True)\n"
            "os._exit(0)\n",
            os.path.dirname(os.path.dirname(__file__)),
            tmp_path,
        )
    )
    until = time.monotonic() + 30
    while _lives(pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _lives(pid)


def _lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # dead, and nobody has asked yet how it ended
