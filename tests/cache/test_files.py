"""Atomic files: the old content or the new, and nothing beside it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cache_helpers import run_python

from tlx.cache import files
from tlx.cache.files import (
    host,
    make_folder,
    open_binary,
    owner,
    remove_stale_temporaries,
    stale_temporaries,
    write_atomic,
    write_output,
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
    path = temporary(tmp_path, f"{host()}.{dead_process()}.5")
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
    temporary(tmp_path, owner())
    assert remove_stale_temporaries(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc here")
def test_a_process_number_used_again_does_not_keep_a_temporary(tmp_path):
    path = temporary(tmp_path, f"{host()}.{os.getpid()}.1")
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
    for name in (".a.tmp", "a.tmp", f".a.{host()}.x.5.0123abcd.tmp"):
        (tmp_path / name).write_bytes(b"")
    assert remove_stale_temporaries(tmp_path) == []


def test_where_processes_cannot_be_asked_for_a_temporary_is_stale_after_a_day(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(files, "PIDS_CAN_BE_ASKED", False)
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("that would be a Ctrl-C"))
    path = temporary(tmp_path, f"{host()}.{os.getpid()}.1")
    assert stale_temporaries(tmp_path) == []
    os.utime(path, (1, 1))
    assert stale_temporaries(tmp_path) == [path]


def test_every_file_is_opened_as_bytes():
    """Without O_BINARY, Windows changes line ends and stops at the first Ctrl-Z."""
    package = Path(files.__file__).parents[1]
    opened = [
        (path.name, line.strip())
        for folder in ("cache", "classify", "cli", "embed", "finetune")
        for path in (package / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if "os.open(" in line and "_BINARY" not in line
    ]
    assert opened == []


def test_a_file_is_read_as_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"one\r\n\x1atwo")
    with open_binary(tmp_path / "a") as file:
        assert file.read() == b"one\r\n\x1atwo"


def test_a_name_with_a_nul_is_no_file(tmp_path):
    with pytest.raises(OSError, match="not a file name"):
        open_binary("a\0b")


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(StorageError) as caught:
        write_output(tmp_path / "a.csv", b"new")
    assert caught.value.cause == f"{tmp_path / 'a.csv'} cannot be written: Is a directory."
    assert caught.value.remedy == "Name another file, in a folder that you may write to."
