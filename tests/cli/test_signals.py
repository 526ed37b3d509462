"""A request to end is heard at any moment: between two lines of Python and within one long call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")

LONG = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"  # hours in one C call
SLOW = "import time; time.sleep(3600)"


@pytest.fixture
def start(environment) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts code under tlx's signals and waits until it is at work."""

    def run(
        code: str, *, ignored: tuple[int, ...] = (), listen: str = "listen()"
    ) -> subprocess.Popen[str]:
        program = f"""
import signal, sys
for number in {tuple(map(int, ignored))}:
    signal.signal(number, signal.SIG_IGN)
from tlx.cli.signals import listen
{listen}
try:
    print("at work", flush=True)
    {code}
except KeyboardInterrupt:
    print("in order", flush=True)
    sys.exit(130)
"""
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        time.sleep(0.2)  # from the line to the call
        return process

    return run


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_between_lines_it_is_an_interruption(number, start):
    process = start(SLOW)
    process.send_signal(number)
    assert end(process) == (130, "in order\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("listen", "grace"),
    [("listen(grace=1)", 1), pytest.param("listen()", 4, marks=pytest.mark.slow)],
)
def test_a_long_call_ends_in_a_few_seconds(number, listen, grace, start):
    process = start(LONG, listen=listen)
    process.send_signal(number)
    asked = time.monotonic()
    code, out, err = end(process)
    assert (code, out) == (130, "")
    assert "Interrupted in the middle of a long computation" in err
    assert grace / 2 < time.monotonic() - asked < 30


def test_termination_holds_where_interruption_is_ignored(start):
    process = start(SLOW, ignored=(signal.SIGINT,))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert end(process) == (130, "in order\n", "")


def test_a_hangup_that_is_ignored_stays_ignored(start):
    process = start(SLOW, ignored=(signal.SIGHUP,))
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.kill()
    end(process)


def test_a_second_termination_ends_at_once(start):
    process = start(LONG)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)  # two of a kind at once are one to the system
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    code, out, _ = end(process)
    assert (code, out) == (130, "")
    assert time.monotonic() - asked < 3


SWALLOW = """
    import time
    while True:
        try:
            time.sleep(3600)
        except BaseException:
            pass
""".strip()


def test_an_interruption_that_is_swallowed_ends_too(start):
    """Such as by a callback that catches everything."""
    process = start(SWALLOW, listen="listen(grace=0.5, wind_up=1)")
    process.send_signal(signal.SIGTERM)
    code, out, err = end(process)
    assert (code, out) == (130, "")
    assert "took too long" in err


def test_a_forked_child_has_ordinary_signals(start):
    fork = """
    import os, time
    child = os.fork()
    if not child:
        time.sleep(3600)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
    time.sleep(1.5)
""".strip()
    process = start(fork, listen="listen(grace=0.5)")
    assert process.stdout
    os.kill(int(process.stdout.readline()), signal.SIGTERM)
    assert end(process) == (0, f"{int(signal.SIGTERM)}\n", "")


@pytest.mark.slow
def test_a_background_job_of_a_script_fits_until_it_is_terminated(wide_project, environment):
    """With SIGINT ignored, and most likely within a call of NumPy's."""
    process = subprocess.Popen(
        ["sh", "-c", f"trap '' INT; exec {sys.executable} -m tlx fit-head --model svm"],
        cwd=wide_project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(4)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    code, out, err = end(process)
    assert (code, out) == (130, ""), err
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert time.monotonic() - asked < 20
    assert not list(wide_project.rglob("*.tmp"))
