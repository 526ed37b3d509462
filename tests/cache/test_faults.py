"""Real processes that are killed, refused by the disk or in each other's way: nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def lab(what: str, argument: object, tmp_path: Path) -> dict:
    """Run `fault_lab` and return what it found."""
    # A file system in memory, where there is one: the same steps without waiting for a disk.
    memory = next((d for d in ("/dev/shm",) if os.access(d, os.W_OK)), None)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("fault_lab.py"), what, str(argument)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(memory or tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert not result["wrong"], "\n".join([*result["wrong"], done.stderr])
    return result


# With how many steps at least.
SCENARIOS = {"Seal": 4, "SealAndMerge": 12, "Compact": 6, "ReplaceManifest": 4, "GatherMatrix": 6}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_goes_wrong_at_whichever_step_nothing_committed_is_lost(scenario, tmp_path):
    """SIGKILL, EIO once, ENOSPC from then on; before each write, flush, rename and removal."""
    assert lab("every_fault", scenario, tmp_path)["steps"] >= SCENARIOS[scenario]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_errors_that_come_once_or_stay_lose_nothing_committed(scenario, tmp_path):
    assert lab("every_fault_thoroughly", scenario, tmp_path)["steps"] >= SCENARIOS[scenario]


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_loses_at_most_one_seal(tmp_path):
    found = lab("kills", 50, tmp_path)
    assert found["killed"] >= 25
    assert found["lost_most"] <= 15


@pytest.mark.slow
def test_a_writer_killed_at_any_of_300_moments_loses_at_most_one_seal(tmp_path):
    found = lab("kills", 300, tmp_path)
    assert found["killed"] >= 150
    assert found["lost_most"] <= 15


@pytest.mark.slow
def test_writers_readers_and_compactions_at_once_lose_nothing(tmp_path):
    found = lab("crowd", 3, tmp_path)
    assert found["reads"] >= 1


@pytest.mark.slow
def test_writers_readers_and_compactions_for_a_minute_lose_nothing(tmp_path):
    assert lab("crowd", 60, tmp_path)["reads"] >= 5


def test_flipped_and_missing_bytes_are_noticed_or_harmless(tmp_path):
    found = lab("damage", 200, tmp_path)
    assert found["noticed"] == 210


@pytest.mark.slow
def test_many_flipped_bytes_are_noticed_or_harmless(tmp_path):
    lab("damage", 5000, tmp_path)
