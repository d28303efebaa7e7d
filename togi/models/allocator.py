"""Keeps freed memory in the process, so that a training step does not fault its pages in again. Knows only glibc.

By default glibc gives every large block back to the system when it is freed, and the next one costs a page fault and a
zeroing for each 4 KB: measured, a million faults and a quarter of the processor time of a learning step. PyTorch's CPU
tensors come from the same allocator. The process's peak memory does not change; what it holds between peaks does.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Set it for the rest of the process; False where the C library has no such setting (not Linux, not glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    try:
        mallopt = library.mallopt
    except AttributeError:
        return False
    settings = {_M_ARENA_MAX: 1, _M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: _NEVER}
    return all([bool(mallopt(name, value)) for name, value in settings.items()])
