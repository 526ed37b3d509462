"""What a person sees of long work."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tlx.cli.common import MANNERS
from tlx.cli.progress import Meter, duration, progress


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_is_promised_before_there_is_a_rate(clock):
    meter = Meter("Embedding", True, clock)
    meter(0, 400)
    clock.now += 20
    assert meter.figures() == "0 of 400, 20 s so far"
    meter(32, 400)
    assert meter.figures() == "32 of 400, 20 s so far"


def test_the_time_before_the_first_result_does_not_count(clock):
    """Such as that of loading the network: 30 s for 32 images, then 20 images a second."""
    meter = Meter("Embedding", True, clock)
    meter(0, 432)
    clock.now += 30
    meter(32, 432)
    for done in range(52, 93, 20):
        clock.now += 1
        meter(done, 432)
    assert meter.figures() == "92 of 432, 20/s, 17 s left"


def test_the_later_half_counts(clock):
    meter = Meter("Fitting", False, clock)
    for done in (1, 2, 3, 4, 5):
        meter(done, 40)
        clock.now += 10
    for done in (15, 25, 35):
        meter(done, 40)
        clock.now += 10
    assert meter.left is not None
    assert meter.left < 10


def test_time_left_goes_on_within_a_step(clock):
    meter = Meter("Fitting", False, clock)
    for done in (1, 2):
        clock.now += 10
        meter(done, 5)
    assert meter.figures() == "40%, 30 s left"
    clock.now += 4
    assert meter.figures() == "40%, 26 s left"
    clock.now += 400
    assert meter.figures() == "40%, 0 s left"


def test_other_work_under_the_same_name_begins_anew(clock):
    meter = Meter("Embedding", True, clock)
    for done in (0, 50, 100):
        meter(done, 100)
        clock.now += 10
    meter(0, 7)
    assert meter.left is None
    assert meter.share == 0


def test_work_that_tells_nothing_has_a_clock(clock):
    meter = Meter("Fitting", False, clock)
    clock.now += 75
    assert meter.figures() == "1 min 15 s"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.7, "1 min"), (3600, "1 h"), (86399, "23 h 59 min")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_short_work_says_nothing(capsys):
    with progress("Embedding") as show:
        for done in range(4):
            show(done, 3)
    assert capsys.readouterr() == ("", "")


LONG = """
import sys, time
from tlx.cli import progress
progress._FIRST_LINE = 0.2
with progress.progress("Fitting", counted=False) as show:
    for done in range(9):
        show(done, 8)
        time.sleep(0.25)
"""


def test_a_log_gets_a_line_now_and_then(environment):
    done = subprocess.run(
        [sys.executable, "-c", LONG], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert 2 <= len(lines) <= 6
    assert all(line.startswith("Fitting: ") for line in lines)
    assert "left" in lines[-1]


def test_a_terminal_gets_one_line_that_goes(environment):
    reading, writing = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", LONG],
        env={**environment, "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=writing,
    )
    os.close(writing)
    shown = b""
    while True:
        try:
            part = os.read(reading, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(reading)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert out == b""
    assert b"Fitting" in shown
    assert shown.rstrip().endswith(b"\x1b[2K")  # the line is cleared at the end


def test_quiet_is_silent(capsys, monkeypatch):
    monkeypatch.setattr(MANNERS, "quiet", True)
    with progress("Embedding") as show:
        show(1, 2)
    assert capsys.readouterr() == ("", "")


ELSEWHERE = """
import os, sys, time
from tlx.cli import progress

progress._FIRST = 0.3
own = sys.stderr
with progress.progress("Fitting", counted=False):
    time.sleep(0.1)
    sys.stderr = os.fdopen(os.dup(2), "w")  # as while TensorFlow is imported
    time.sleep(0.7)
    sys.stderr.close()
    sys.stderr = own
    time.sleep(0.2)
assert sys.stderr is own
"""


def test_a_bar_does_not_begin_on_an_error_stream_that_is_there_for_a_while():
    terminal, other = pty.openpty()
    process = subprocess.run([sys.executable, "-c", ELSEWHERE], stderr=other, check=False)
    os.close(other)
    shown = os.read(terminal, 10_000).decode() if process.returncode else ""
    os.close(terminal)
    assert process.returncode == 0, shown
