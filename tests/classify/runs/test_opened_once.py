"""How often the files of a run are opened, as the kernel counts it, by HDF5 too."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tlx.classify.runs.best import load_run
from tlx.classify.runs.store import list_runs

ACCESS, OPEN = 0x1, 0x20  # of inotify; a read between two openings keeps them two events
RUNS = ["centroid-1", "knn-1"]


def opened(folder: Path, act: Callable[[], object]) -> dict[str, int]:
    """Return how often each file in `folder` is opened while `act` runs."""
    if not sys.platform.startswith("linux"):
        pytest.skip("inotify is Linux's")
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init1(os.O_NONBLOCK)
    assert events >= 0
    try:
        assert libc.inotify_add_watch(events, os.fsencode(folder), ACCESS | OPEN) >= 0
        act()
        data = os.read(events, 2**20)
    finally:
        os.close(events)
    count: Counter[str] = Counter()
    while data:
        _, mask, _, length = struct.unpack_from("iIII", data)
        name = data[16 : 16 + length].rstrip(b"\0").decode()
        count[name] += bool(name and mask & OPEN)
        data = data[16 + length :]
    return {name: n for name, n in count.items() if n}


@pytest.mark.parametrize("run_id", RUNS)
def test_loading_a_run_and_its_head_opens_each_part_once(two_runs, run_id):
    def act():
        run = load_run(run_id, two_runs.root)
        run.head()
        run.predict_proba(np.zeros((1, 8), np.float32))

    found = opened(two_runs.runs / run_id, act)
    parts = ("run.json", "head.h5", "predictions.h5", "neighbours.h5")
    assert found == dict.fromkeys(parts, 1)


@pytest.mark.parametrize("run_id", RUNS)
def test_reading_predictions_opens_them_once(two_runs, run_id):
    (run,) = [run for run in list_runs(two_runs) if run.id == run_id]
    assert opened(run.folder, run.predictions) == {"predictions.h5": 1}


def test_a_head_changed_after_it_was_checked_is_not_what_predicts(two_runs):
    run = load_run("centroid-1", two_runs.root)
    expected = run.predict_proba(np.ones((1, 8), np.float32))
    (run.folder / "head.h5").write_bytes(b"another")
    np.testing.assert_array_equal(run.predict_proba(np.ones((1, 8), np.float32)), expected)
