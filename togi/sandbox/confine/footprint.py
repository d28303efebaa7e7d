"""How much memory a process and all that it started hold together, where the kernel tells it (Linux); it sets no limit.

The kernel limits memory for each process. What counts together is looked at from outside, ``LOOK`` seconds apart.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

LOOK = 0.05  # seconds
RESIDENT = re.compile(r"^(?:RssAnon|RssShmem):\s+(\d+) kB$", re.MULTILINE)  # in status
SHARE = re.compile(r"^(?:Pss_Anon|Pss_Shmem):\s+(\d+) kB$", re.MULTILINE)  # in smaps_rollup
PROC = Path("/proc")


def exceeds(process: int, limit: int) -> bool:
    """Whether ``process`` and its descendants hold more than ``limit`` bytes that are theirs and no file's. Memory that
    they share counts once, or, where the kernel does not tell shares of such a process, once for each."""
    together = [process, *_descendants(process)]
    return sum(map(_resident, together)) > limit and sum(map(_shares, together)) > limit


def told() -> bool:
    """Whether the kernel tells what a process started."""
    return any(PROC.glob("self/task/*/children"))


def _descendants(process: int) -> list[int]:
    """None where the system does not say."""
    found: list[int] = []
    waiting = [process]
    while waiting:
        with suppress(OSError):  # it may end while it is looked at
            for path in PROC.glob(f"{waiting.pop()}/task/*/children"):
                children = [int(word) for word in path.read_text(encoding="ascii").split()]
                found += children
                waiting += children
    return found


def _resident(process: int) -> int:
    return _sum(RESIDENT, PROC / str(process) / "status")


def _shares(process: int) -> int:
    """What it holds, of shared memory its share; a process that hides itself does not tell shares."""
    return _sum(SHARE, PROC / str(process) / "smaps_rollup") or _resident(process)


def _sum(pattern: re.Pattern[str], file: Path) -> int:
    """Bytes; 0 for a process that has ended."""
    with suppress(OSError):
        return 2**10 * sum(map(int, pattern.findall(file.read_text("utf-8", "replace"))))
    return 0
