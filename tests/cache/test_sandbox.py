"""The sandbox: whatever a file does to the process that reads it, it does to a child."""

import time

import pytest
from cache_helpers import SPEC, arrays, manifest_of, run_python

from tlx.cache.sandbox import check_apart, check_each
from tlx.cache.shard import shard_bytes


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{n}.h5" for n in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(shard_bytes(SPEC, *arrays([number])))
    return paths


def test_good_files_have_no_problem(files):
    assert check_apart("shard", files) == {}


def test_a_damaged_file_is_named(files):
    files[2].write_bytes(b"")
    assert list(check_apart("shard", files)) == [files[2]]


def test_manifests_are_read_as_manifests(files, tmp_path):
    manifest_of(range(3)).save(tmp_path / "data.h5")
    assert list(check_apart("manifest", [tmp_path / "data.h5", files[0]])) == [files[0]]


def test_a_missing_file_is_named(tmp_path):
    assert list(check_apart("shard", [tmp_path / "none.h5"])) == [tmp_path / "none.h5"]


# A reader that misbehaves at one name stands for libhdf5 doing so; no file is known that makes the
# installed one crash after all the checks.
MISBEHAVING = """
import json, os, signal, time
from pathlib import Path
from tlx.cache import sandbox
sandbox._START = sandbox._START.replace("main(*", '''import os, signal, time
from tlx.cache import sandbox
def read(path):
    if path.name == "2.h5":
        {}
sandbox._readers = lambda: dict(shard=read)
main(*''')
found = sandbox.check_apart("shard", [Path(p) for p in sys.argv[1:]], seconds=2)
print(json.dumps([[p.name, why] for p, why in found.items()]))
"""


@pytest.mark.parametrize(
    "deed", ["os.kill(os.getpid(), signal.SIGSEGV)", "time.sleep(60)", "bytearray(2**33)"]
)
def test_a_file_that_crashes_hangs_or_fills_the_memory_is_refused_and_the_rest_read(files, deed):
    started = time.monotonic()
    done = run_python(MISBEHAVING.format(deed), *files)
    assert '[["2.h5", ' in done.stdout, done.stderr
    assert "reading it ended the process" in done.stdout
    assert done.stdout.count(".h5 is hostile") == 1
    assert time.monotonic() - started < 30


def test_python_files_in_the_current_folder_are_not_run(files, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    (tmp_path / "h5py.py").write_text("raise SystemExit(3)")
    code = """
import os
sys.path[:] = [p for p in sys.path if p]
from pathlib import Path
from tlx.cache.sandbox import check_apart, check_each
os.chdir(sys.argv[1])
print(check_apart("shard", [Path("0.h5")]))
"""
    assert run_python(code, tmp_path).stdout == "{}\n"


def test_files_are_told_of_while_the_child_reads_on(files):
    checked = check_each("shard", [*files, files[0].with_name("none.h5")])
    assert next(checked) == (files[0], "")
    assert [path for path, problem in checked if problem] == [files[0].with_name("none.h5")]


SLOW = MISBEHAVING.replace('if path.name == "2.h5":', "if True:").replace("seconds=2", "seconds=5")


@pytest.mark.slow
def test_the_time_is_bounded_by_the_file_not_by_how_many_there_are(files):
    done = run_python(SLOW.format("time.sleep(1.2)"), *files)
    assert done.stdout == "[]\n", done.stderr
