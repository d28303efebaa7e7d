"""Keeps freed memory in the process, so that a training step does not fault its pages in again. Knows only glibc.

By default glibc gives every large block back to the system when it is freed, and the next one costs a page fault and a
zeroing for each 4 KB: measured, a million faults and a quarter of the processor time of a learning step. PyTorch's CPU
tensors come from the same allocator. One arena serves all threads, so that what sampling frees in one thread the
backward pass can use in another.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = (1 << 31) - 1


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


def _function(name: str) -> Callable[..., int] | None:
    """A function of the C library, or None where it has none of that name."""
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function
