"""The seed of a task's game: all attempts at a task play the same one."""

from __future__ import annotations

import hashlib

from togi.types import Task


def seed_of(task: Task) -> int:
    """What stands in the row's column ``seed``, or else a number made of the task's id."""
    named = task.info.get("seed")
    if isinstance(named, int) and not isinstance(named, bool) and named >= 0:
        return named
    return int.from_bytes(hashlib.blake2b(task.id.encode(), digest_size=4).digest(), "big")
