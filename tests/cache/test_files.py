"""Atomic files: the old content or the new, and nothing beside it."""

import os
import subprocess
import sys
import time

import pytest
from cache_helpers import run_python

from tlx.cache.files import (
    _host,
    _owner,
    make_folder,
    remove_stale_temporaries,
    stale_temporaries,
    write_atomic,
)
from tlx.errors import StorageError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_content_is_written(tmp_path):
    write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_content_is_replaced(tmp_path):
    (tmp_path / "a").write_bytes(b"old and longer")
    write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_no_temporary_is_left(tmp_path):
    write_atomic(tmp_path / "a", b"new")
    assert names(tmp_path) == ["a"]


def test_missing_folders_are_made(tmp_path):
    write_atomic(tmp_path / "x" / "y" / "a", b"new")
    assert (tmp_path / "x" / "y" / "a").read_bytes() == b"new"


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path):
    write_atomic(tmp_path / ("n" * 255), b"new")
    assert names(tmp_path) == ["n" * 255]


def test_a_name_that_is_not_utf8_can_be_written(tmp_path):
    write_atomic(tmp_path / os.fsdecode(b"\xff\xfe"), b"new")
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\xfe"]


TOO_LARGE = """
import resource
from pathlib import Path
from tlx.cache.files import write_atomic
from tlx.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path(sys.argv[1]), bytes(100_000))
except StorageError as error:
    print(error)
"""


def test_a_full_disk_is_told_and_leaves_the_old_content_alone(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    done = run_python(TOO_LARGE, tmp_path / "a")
    assert "no space left" in done.stdout
    assert "100,000 bytes are needed" in done.stdout
    assert "run the same command again" in done.stdout
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


READ_ONLY = """
import os
from pathlib import Path
from tlx.cache.files import write_atomic
from tlx.errors import StorageError
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    write_atomic(Path(sys.argv[1]), b"new")
except StorageError as error:
    print(error)
"""


def test_a_read_only_folder_is_told(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    for parent in (folder, *folder.parents[:-1]):  # another user must be able to get there
        if parent.stat().st_uid == os.getuid() and parent != folder:
            parent.chmod(0o755)
    folder.chmod(0o555)
    done = run_python(READ_ONLY, folder / "a")
    assert "cannot be written" in done.stdout
    assert "--workspace DIR" in done.stdout
    assert names(folder) == []


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(StorageError, match=r"(?s)f/a: .*--workspace"):
        write_atomic(tmp_path / "f" / "a", b"new")


def test_a_folder_in_place_of_the_file_is_told_and_nothing_is_left(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        write_atomic(tmp_path / "a", b"new")
    assert names(tmp_path) == ["a"]


def test_making_a_folder_that_is_there_is_no_error(tmp_path):
    make_folder(tmp_path)
    assert tmp_path.is_dir()


def temporary(folder, owner):
    path = folder / f".a.{owner}.0123abcd.tmp"
    path.write_bytes(b"half")
    return path


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_temporary_of_a_dead_process_is_removed(tmp_path):
    path = temporary(tmp_path, f"{_host()}.{dead_process()}.5")
    assert stale_temporaries(tmp_path) == [path]
    assert remove_stale_temporaries(tmp_path) == [path]
    assert names(tmp_path) == []


def test_the_temporary_of_a_killed_writer_is_removed(tmp_path):
    code = """
import os, signal
from pathlib import Path
from tlx.cache import files
os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomic(Path(sys.argv[1]), b"new")
"""
    run_python(code, tmp_path / "a")
    assert len(names(tmp_path)) == 1
    assert len(remove_stale_temporaries(tmp_path)) == 1
    assert names(tmp_path) == []


def test_the_temporary_of_a_living_process_is_kept(tmp_path):
    temporary(tmp_path, _owner())
    assert remove_stale_temporaries(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc here")
def test_a_process_number_used_again_does_not_keep_a_temporary(tmp_path):
    path = temporary(tmp_path, f"{_host()}.{os.getpid()}.1")
    assert remove_stale_temporaries(tmp_path) == [path]


def test_the_temporary_of_another_machine_is_kept_for_a_day(tmp_path):
    path = temporary(tmp_path, "00000000.1.1")
    assert remove_stale_temporaries(tmp_path) == []
    yesterday = time.time() - 25 * 3600
    os.utime(path, (yesterday, yesterday))
    assert remove_stale_temporaries(tmp_path) == [path]


def test_a_temporary_from_the_future_is_kept(tmp_path):
    path = temporary(tmp_path, "00000000.1.1")
    tomorrow = time.time() + 48 * 3600
    os.utime(path, (tomorrow, tomorrow))
    assert remove_stale_temporaries(tmp_path) == []


def test_foreign_files_are_no_temporaries(tmp_path):
    for name in (".a.tmp", "a.tmp", f".a.{_host()}.x.5.0123abcd.tmp"):
        (tmp_path / name).write_bytes(b"")
    assert remove_stale_temporaries(tmp_path) == []
