"""Keeps freed memory in the process, so that a training step does not fault its pages in again. Knows only glibc.

By default glibc gives every large block back to the system when it is freed, and the next one costs a page fault and a
zeroing for each 4 KB: measured, a million faults and a quarter of the processor time of a learning step. PyTorch's CPU
tensors come from the same allocator. One arena serves all threads, so that what sampling frees in one thread the
backward pass can use in another.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = (1 << 31) - 1
_GROWN = 1.02


def keep_freed_memory() -> bool:
    """Set it for the rest of the process; False where the C library has no such setting (not Linux, not glibc)."""
    mallopt = _function("mallopt")
    if mallopt is None:
        return False
    settings = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _NEVER}
    done = [mallopt(name, value) for name, value in settings.items()]  # all of them, whatever one says
    return all(done)


def release_freed_memory() -> bool:
    """Give back what was kept; False where there is nothing to give. Faulting it in again costs half a second a
    gigabyte."""
    malloc_trim = _function("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(0))


class Growth:
    """Gives memory back, between sampling and learning, in the steps before which the process has grown.

    Learning takes memory in other blocks than sampling. Where what sampling leaves fits too few of them, the heap grows
    step by step; where it fits, giving it back would only cost time.
    """

    def __init__(self) -> None:
        self._settled: int | None = 0

    def release_if_grown(self) -> bool:
        """Once a step; True where memory was given back."""
        held = _resident_bytes()
        if self._settled is None:
            self._settled = held  # what a whole step takes after memory was given back
        if held <= _GROWN * self._settled:
            return False
        self._settled = None
        return release_freed_memory()


def _resident_bytes() -> int:
    """Memory of this process that is there, or 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _function(name: str) -> Callable[..., int] | None:
    """A function of the C library, or None where it has none of that name."""
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function
