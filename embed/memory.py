"""How much memory this machine has left, and the largest image size that fits into it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..errors import DataError

# Measured on EfficientNet-Lite0 and MobileNetV2 at 1,000 to 2,000 pixels with OpenVINO on two
# cores: 0.9 GB for the libraries, and about 420 bytes a pixel of the input; the pixels waiting for
# the network come to it.
_BASE_BYTES = 900e6
_BYTES_A_PIXEL_AND_CORE = 300
_BYTES_A_PIXEL = 120
_MAX_CORES = 8  # that work on images of their own
_CHECKED_FROM = 512  # pixels; smaller ones fit wherever the libraries do


def check_image_size(size: int) -> None:
    """Raise if images of `size` by `size` pixels cannot be expected to fit into the memory.

    Raises
    ------
    DataError
        If they cannot; it names the largest size that can.
    """
    if size < 1:
        raise DataError(f"image size {size} is not positive.", "Try 224.")
    available = available_memory() if size > _CHECKED_FROM else None
    if available is None:
        return
    largest = max(_CHECKED_FROM, largest_image_size(available))
    if size > largest:
        raise DataError(
            f"images of {size} pixels need about {_needed(size) / 1e9:.0f} GB of memory, "
            f"{available / 1e9:.1f} GB are free.",
            f"The largest that fits is --image-size {largest}; networks are made for 224 to 600.",
        )


def largest_image_size(available: float) -> int:
    """Return the largest size that fits into so many bytes, a multiple of 32; 0 if none does.

    Examples
    --------
    >>> largest_image_size(0.5e9)
    0
    """
    room = max(0.0, available - _BASE_BYTES)
    return int((room / _per_pixel()) ** 0.5) // 32 * 32


def available_memory() -> float | None:
    """Return the bytes that this process may still take, as far as the system tells, else None.

    The least of what is free, what its control group leaves and its own limit of address space.
    """
    return min(
        (n for n in (_free(), _left_in_group(), _left_of_limit()) if n is not None), default=None
    )


def _per_pixel() -> float:
    cores = min(os.cpu_count() or 1, _MAX_CORES)
    return _BYTES_A_PIXEL + _BYTES_A_PIXEL_AND_CORE * cores


def _needed(size: int) -> float:
    return _BASE_BYTES + _per_pixel() * size**2


def _free() -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    with contextlib.suppress(AttributeError, ValueError, OSError):  # macOS and others: all there is
        return 1.0 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _left_in_group() -> float | None:
    folder = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", which is no limit
        limit = int((folder / "memory.max").read_text())
        taken = int((folder / "memory.current").read_text())
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return float(limit - taken + int(facts.get("file", 0)))  # cached files make room
    return None


def _left_of_limit() -> float | None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return float(limit - pages * os.sysconf("SC_PAGE_SIZE"))
    return None
