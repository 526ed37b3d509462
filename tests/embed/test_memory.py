"""The memory that is left, and the image sizes that fit into it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tlx.embed.memory import available_memory, check_image_size, largest_image_size
from tlx.errors import DataError


def test_some_memory_is_left():
    available = available_memory()
    assert available is None or 1e6 < available < 1e15


def test_more_memory_takes_larger_images():
    sizes = [largest_image_size(gigabytes * 1e9) for gigabytes in (0, 2, 8, 64)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 0
    assert sizes[1] > 224
    assert all(size % 32 == 0 for size in sizes)


@pytest.mark.parametrize("size", [1, 224, 512])
def test_usual_sizes_are_taken(size):
    check_image_size(size)


@pytest.mark.parametrize("size", [0, -5])
def test_a_size_must_be_positive(size):
    with pytest.raises(DataError, match="not positive"):
        check_image_size(size)


def test_a_size_beyond_the_memory_is_refused_and_the_largest_is_named():
    with pytest.raises(DataError, match=r"1000000 pixels need about \d+ GB") as caught:
        check_image_size(1_000_000)
    largest = int(caught.value.remedy.split("--image-size ")[1].split(";")[0])
    check_image_size(largest - 64)  # a little less: what is free changes


def test_a_limit_of_the_process_counts():
    pytest.importorskip("resource")
    code = (
        "import resource\n"
        "from tlx.embed.memory import available_memory, check_image_size\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "assert available_memory() < 3 << 30\n"
        "check_image_size(20000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "20000 pixels need about" in done.stderr
