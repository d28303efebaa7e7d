"""How much memory there is. It knows no model and no data: what they need is theirs to say."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def installed() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def memory_limit() -> int:
    """Bytes this process may use: the machine's memory, or the container's limit where it is lower."""
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.is_file() else "max"
    return min(installed(), int(text)) if text.isdigit() else installed()
